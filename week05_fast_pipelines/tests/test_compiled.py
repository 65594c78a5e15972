"""Graphs are counted, the record of the first call is kept and read, and C++ becomes readable."""

import json
import subprocess

import torch

from week05_fast_pipelines import compiled, tensor_cores

X = torch.ones(4, 8)


def test_a_value_that_python_needs_breaks_the_graph_and_torch_where_does_not():
    assert compiled.graphs(compiled.straight, [(X,)]) == 1
    assert compiled.graphs(compiled.with_print, [(X,)]) == 2
    assert compiled.graphs(compiled.with_branch, [(X,)]) == 2
    assert compiled.graphs(compiled.without_branch, [(X,)]) == 1


def test_each_length_is_a_graph_unless_lengths_are_dynamic():
    calls = compiled.length_calls([8, 16, 24, 32])
    assert compiled.graphs(compiled.straight, calls, dynamic=False) == 4
    assert compiled.graphs(compiled.straight, calls) == 2
    assert compiled.graphs(compiled.straight, calls, dynamic=True) == 1


def test_counting_prints_nothing(capfd):
    compiled.graphs(compiled.with_print, [(X,)])
    assert capfd.readouterr().out == ""


def test_branch_with_and_without_python_compute_the_same():
    for x in (X, -X):
        assert torch.equal(compiled.with_branch(x), compiled.without_branch(x))


def test_the_first_call_is_measured_once_and_then_read(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "inductor_folder", lambda: tmp_path / "kernels")
    started = []

    class Process:
        returncode = 0

        def __init__(self, *arguments, **_options):
            started.append(arguments)

        def communicate(self, timeout):
            return "a warning\n" + json.dumps({"first": 9.0, "second": 0.5, "kernel": "for"}), ""

    monkeypatch.setattr(subprocess, "Popen", Process)
    first = compiled.FreshProcess().result()
    assert first == compiled.FirstCall(9.0, 0.5, "for")
    assert compiled.FreshProcess().result() == compiled.FirstCall(9.0, 0.5, "for")
    assert len(started) == 1


def test_without_a_compiler_there_is_a_sentence_and_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "inductor_folder", lambda: tmp_path / "kernels")

    class Process:
        returncode = 1

        def __init__(self, *_arguments, **_options):
            pass

        def communicate(self, timeout):
            return "", "Traceback\nInvalidCxxCompiler: No working C++ compiler found"

    monkeypatch.setattr(subprocess, "Popen", Process)
    assert "C++ compiler" in compiled.FreshProcess().result()
    assert not (tmp_path / "kernels" / "first_call.json").exists()


def test_generated_code_is_shortened_to_its_loops():
    source = """import torch
kernel = async_compile.cpp_pybinding(['const float*'], r'''
#include <torch/csrc/inductor/cpp_prefix.h>
extern "C"  void  kernel(const float* in_ptr0)
{
    {
        #pragma GCC ivdep
        for(int64_t x0=static_cast<int64_t>(0L); x0<static_cast<int64_t>(2048L); x0+=static_cast<int64_t>(16L))
        {
            auto tmp0 = at::vec::Vectorized<float>::loadu(in_ptr0 + static_cast<int64_t>(x0), 16);
        }
    }
}
''')
"""
    assert compiled.shortened(source).splitlines() == [
        'extern "C"  void  kernel(const float* in_ptr0)',
        "  for(int64_t x0=0; x0<2048; x0+=16)",
        "    auto tmp0 = Vec::loadu(in_ptr0 + x0, 16);",
    ]


def test_chain_is_the_norm_and_gate_that_it_says():
    x, residual, gain = compiled.inputs(4, 8)
    y = torch.nn.functional.rms_norm(x + residual, (8,), gain, eps=1e-6)
    assert torch.allclose(compiled.chain(x, residual, gain), y * torch.sigmoid(1.702 * y), atol=1e-6)


def test_wide_layers_run_in_both_precisions_and_their_gradients_agree():
    model = tensor_cores.layers(32)
    x = torch.randn(8, 32)
    gradients = []
    for half in (False, True):
        tensor_cores.step(model, x, half)
        gradients.append(model[0].weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-3)
    assert set(tensor_cores.compare(16, (8, 7), pairs=1).timings) == {"float32", "half", "odd"}
