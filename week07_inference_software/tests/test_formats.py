"""Engines agree with PyTorch at other batches than the example's; conversions are kept, or fail in a sentence."""

import json
import subprocess
import zipfile

import pytest
import torch

from week07_inference_software import formats, small_nets
from week07_inference_software import lecture_tables as tables


@pytest.fixture(scope="module")
def program():
    return formats.exported(small_nets.residual(), small_nets.images(2))


@pytest.fixture(scope="module")
def files(program, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    place = tmp_path_factory.mktemp("formats")
    return formats.to_onnx(program, place / "net.onnx"), formats.to_openvino(program, place / "net.xml")


@pytest.mark.parametrize("count", [1, 5])
def test_onnx_runtime_and_openvino_agree_with_pytorch(files, count):
    x = small_nets.images(count)
    expected = small_nets.residual()(x)
    for run in (formats.onnx_engine(files[0]), formats.openvino_engine(files[1])):
        assert torch.allclose(run(x), expected, atol=1e-5)


def test_the_graph_that_an_engine_runs_has_all_convolutions_and_no_norm(files, tmp_path):
    optimized = tmp_path / "optimized.onnx"
    formats.onnx_engine(files[0], optimized=optimized)
    by_onnx = formats.onnx_operations(optimized)
    assert by_onnx["Conv"] + by_onnx["FusedConv"] == 9
    assert by_onnx["BatchNormalization"] == 0
    by_openvino = formats.openvino_operations(formats.openvino_compiled(files[1]))
    assert by_openvino["Convolution"] == 9
    assert tables.fusible(by_onnx) == tables.fusible(by_openvino) == 0


class NothingToFuseWith(torch.nn.Module):
    """A norm, a ReLU and a sum without a convolution."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(4)
        self.norm.running_mean.uniform_(0.1, 1)

    def forward(self, x):
        return torch.relu(self.norm(x)) + torch.sigmoid(x)


def test_a_norm_that_is_left_is_counted_in_each_engine(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    program = formats.exported(NothingToFuseWith().eval(), torch.randn(2, 4, 8, 8))
    optimized = tmp_path / "optimized.onnx"
    formats.onnx_engine(formats.to_onnx(program, tmp_path / "net.onnx"), optimized=optimized)
    compiled = formats.openvino_compiled(formats.to_openvino(program, tmp_path / "net.xml"))
    assert tables.fusible(formats.onnx_operations(optimized)) > 0
    assert tables.fusible(formats.openvino_operations(compiled)) > 0


def test_kernels_that_inductor_wrote_are_counted_by_what_they_do(tmp_path):
    kernel = 'extern "C"  void  cpp_fused_relu_0(float* out)\n{ %s }\n'
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as package:
        package.writestr("x.wrapper.cpp", "aoti_torch_cpu_mkldnn__convolution_pointwise(a); // relu\n")
        package.writestr("x.kernel.cpp", "#include <a>\n" + kernel % "copies" + kernel % "t.rsqrt();")
    found = formats.inductor_operations(tmp_path / "a.pt2")
    assert found["mkldnn__convolution_pointwise"] == found["own kernels"] == tables.fusible(found) == 1


def test_the_weights_of_openvinos_two_files_are_counted(files):
    assert formats.nbytes(files[1]) > files[1].with_suffix(".bin").stat().st_size > 300_000


def test_an_answer_of_openvino_is_not_overwritten_by_the_next(files):
    run = formats.openvino_engine(files[1])
    first = run(small_nets.images(1, seed=1))
    kept = first.clone()
    run(small_nets.images(1, seed=2))
    assert torch.equal(first, kept)


def test_operations_of_the_exported_graph_are_counted(program):
    found = formats.operations(program)
    assert (found["conv2d"], found["batch_norm"], found["relu"], found["add"]) == (9, 9, 7, 3)


class Process:
    """Stands in for a conversion."""

    returncode, output, errors = 0, "chatter\n" + json.dumps({"seconds": 9.0}), ""
    started = 0

    def __init__(self, *_arguments, **_options):
        type(self).started += 1

    def communicate(self, timeout):
        return self.output, self.errors

    def poll(self):
        return self.returncode


def test_a_conversion_is_made_once_and_then_read(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Process)
    Process.started = 0
    assert formats.Conversion("aot", tmp_path).result() == {"seconds": 9.0}
    assert formats.Conversion("aot", tmp_path).result() == {"seconds": 9.0}
    assert Process.started == 1


def test_a_conversion_that_fails_is_a_sentence_and_is_not_kept(tmp_path, monkeypatch):
    class Failing(Process):
        returncode, output, errors = 1, "", "Traceback\nInvalidCxxCompiler: no compiler"

    monkeypatch.setattr(subprocess, "Popen", Failing)
    assert "no compiler" in formats.Conversion("aot", tmp_path).result()
    assert not list(tmp_path.glob("*.json"))


def test_a_conversion_that_nobody_waits_for_is_ended(tmp_path, monkeypatch):
    import sys

    class Sleeping(subprocess.Popen):
        def __init__(self, _command, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(600)"], **options)

    monkeypatch.setattr(subprocess, "Popen", Sleeping)
    conversion = formats.Conversion("phone", tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        conversion.result(timeout=0.1)
    assert conversion.process.poll() is not None


def test_generated_code_is_shortened_and_names_no_place_of_this_machine(tmp_path):
    source = """#include <torch/csrc/inductor/cpp_prefix.h>
extern "C"  void  cpp_fused_add_0(const float* in_ptr0, float* out_ptr0)
{
    for(int64_t x0=static_cast<int64_t>(0L); x0<static_cast<int64_t>(64L); x0+=static_cast<int64_t>(16L))
    {
        auto tmp0 = at::vec::Vectorized<float>::loadu(in_ptr0 + static_cast<int64_t>(x0), 16);
    }
}
// g++ /home/someone/kernel.cpp
"""
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as package:
        package.writestr("data/x.kernel.cpp", source)
    assert formats.kernel_of(tmp_path / "a.pt2", "cpp_fused").splitlines() == [
        'extern "C"  void  cpp_fused_add_0(const float* in_ptr0, float* out_ptr0)',
        "  for(int64_t x0=0; x0<64; x0+=16)",
        "    auto tmp0 = Vec::loadu(in_ptr0 + x0, 16);",
    ]
