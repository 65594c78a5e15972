"""Kernels compute what PyTorch does, touch nothing beyond the end, and compile for GPUs that are not here."""

import pytest
import torch

from week07_inference_software import triton_kernels as kernels

pytestmark = pytest.mark.skipif(kernels.triton is None, reason="Triton has wheels for Linux only")


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 5000])
def test_gate_is_pytorchs_gate_at_sizes_that_fit_the_block_and_not(n):
    x, residual = torch.randn(2, n, generator=torch.Generator().manual_seed(n))
    assert torch.allclose(kernels.gate_by_triton(x, residual), kernels.gate(x, residual), atol=1e-6)


def test_nothing_is_written_beyond_the_end():
    n, room = 1030, torch.full((2048,), 7.0)
    x = torch.ones(2048)
    kernels.launch(kernels.gate_kernel, (2,), x, x, room, n, BLOCK=kernels.BLOCK)
    assert (room[n:] == 7).all()
    assert (room[:n] != 7).all()


def test_product_is_the_product_of_the_tiles():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator).half() for shape in ((64, 96), (96, 32)))
    assert torch.allclose(kernels.product_by_triton(a, b), a.float() @ b.float(), atol=1e-3)


def test_promised_alignment_widens_each_access_to_four_numbers():
    plain, wide = (kernels.compiled_gate(aligned) for aligned in (False, True))
    assert not any("v4" in kind for kind in plain.loads_and_stores)
    assert all("v4" in kind for kind in wide.loads_and_stores)
    assert plain.loads_and_stores.total() == 4 * wide.loads_and_stores.total()


@pytest.mark.parametrize(("capability", "instruction"), [(80, "mma.sync"), (90, "wgmma.mma_async")])
def test_tile_products_use_the_tensor_cores_of_the_target(capability, instruction):
    code = kernels.compiled_product(capability)
    assert code.target in code.code
    assert set(code.tensor_core_instructions) == {instruction}


def test_without_triton_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr("effdl.kernels.triton", None)
    with pytest.raises(RuntimeError, match="requirements-week07"):
        kernels.gate_by_triton(torch.ones(4), torch.ones(4))
