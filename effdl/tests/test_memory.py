"""Memory counts are exact, or a lecture's formula would be checked against noise."""

import subprocess
import sys

import torch
from torch.utils.checkpoint import checkpoint

from effdl.device import device
from effdl.memory import measure, saved_tensors

KIB = 1024


def floats(kib: int) -> torch.Tensor:
    return torch.empty(kib * KIB // 4, device=device()).zero_()


def test_peak_counts_what_is_freed_again_and_kept_does_not() -> None:
    def work() -> torch.Tensor:
        first = floats(64)
        second = first.tanh()
        del first
        return second

    found = measure(work)
    assert (found.peak, found.kept) == (128 * KIB, 64 * KIB)


def test_memory_alive_before_the_call_is_not_counted() -> None:
    before = floats(64)
    found = measure(before.tanh_)
    assert (found.peak, found.kept) == (0, 0)


def test_two_calls_give_the_same_bytes() -> None:
    model = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)]).to(device())
    x = torch.randn(32, 64, device=device())
    model(x)  # what an operation's first call leaves for good is none of it
    first, second = [measure(lambda: model(x).sum()) for _ in range(2)]
    assert (first.peak, first.kept) == (second.peak, second.kept)


def test_saved_tensors_of_a_chain_of_tanh_are_its_outputs() -> None:
    x = floats(16).requires_grad_()
    with saved_tensors() as saved:
        y = x.tanh().tanh().tanh()
    assert saved.bytes == 3 * 16 * KIB
    assert y.requires_grad


def test_a_view_saved_twice_counts_once_and_parameters_do_not_count() -> None:
    weight = torch.nn.Parameter(torch.ones(64, 64, device=device()))
    x = torch.ones(64, 64, device=device(), requires_grad=True)
    with saved_tensors(besides=[weight]) as saved:
        y = (x @ weight) + (x.T @ weight)
    assert saved.bytes == x.untyped_storage().nbytes()
    assert y.requires_grad


def test_checkpointing_shows_in_kept_bytes() -> None:
    def block(x: torch.Tensor) -> torch.Tensor:
        return x.tanh().tanh().tanh().tanh()

    x = floats(64).requires_grad_()
    plain = measure(block, x)
    recomputed = measure(checkpoint, block, x, use_reentrant=False, preserve_rng_state=False)
    assert plain.kept == 4 * 64 * KIB
    assert recomputed.kept == 64 * KIB
    assert torch.equal(plain.result, recomputed.result)


def test_counting_saved_tensors_keeps_no_graph_alive() -> None:
    x = floats(64).requires_grad_()

    def count_and_drop() -> None:
        with saved_tensors():
            x.tanh()

    assert measure(count_and_drop).kept == 0


def test_measuring_imports_no_compiler() -> None:
    # Some versions of torch import it themselves: what counts is what measuring adds.
    call = "from effdl.memory import measure; measure(torch.ones, 9)"
    code = f"import sys, torch; known = set(sys.modules); {call}; print('sympy' in set(sys.modules) - known)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.split()[-1] == "False"
