"""One linear layer in float32 and in few bits, by every route that a CPU has: who is faster, at which size?

All functions take x (rows, in) and give (rows, out). Weights are rounded per channel, activations per row where
they are rounded at all.
"""

import functools
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from effdl import bench

Layer = Callable[[], torch.Tensor]


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (out, in) int8 and scales (out, 1): symmetric, per channel."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
    return (weight / scale).round().to(torch.int8), scale


def dequantise_then_multiply(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Weight-only as eager PyTorch does it: the weight is written out in float32 before each product."""
    return F.linear(x, codes.float() * scale)


def integer_product(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Both in int8: round each row of x, multiply integers into int32, and scale the sums."""
    own = x.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
    sums = torch._int_mm((x / own).round().to(torch.int8), codes.T)
    return sums.float() * own * scale.T


def torchao_layer(weight: torch.Tensor) -> nn.Module:
    """The library's version of `integer_product`: weights rounded now, activations at every call."""
    quantization = torchao_quietly()
    layer = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    layer[0].weight = nn.Parameter(weight.clone())
    quantization.quantize_(layer, quantization.Int8DynamicActivationInt8WeightConfig())
    return layer


@functools.cache
def torchao_quietly():
    """`torchao.quantization`; on a CPU its import warns of GPU kernels that it cannot load."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchao.quantization
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return torchao.quantization


def onnx_sessions(
    weight: torch.Tensor, threads: int = 1
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The layer in ONNX Runtime, in float32 and after its `quantize_dynamic`: {"float32": run, "int8": run}."""
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out, size = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", out])],
        [numpy_helper.from_array(np.ascontiguousarray(weight.numpy().T), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"float32": Path(folder, "float.onnx"), "int8": Path(folder, "int8.onnx")}
        onnx.save(model, paths["float32"])
        logger, level = logging.getLogger(), logging.getLogger().level
        logger.setLevel(logging.ERROR)  # it advises a pre-processing that one product does not need
        quantize_dynamic(paths["float32"], paths["int8"], weight_type=QuantType.QInt8, per_channel=True)
        logger.setLevel(level)
        for name, path in paths.items():
            session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
            runs[name] = functools.partial(_run, session)
    return runs


def _run(session, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def routes(rows: int, out: int, size: int, engines: bool = True, seed: int = 0) -> dict[str, Layer]:
    """The same product by every route: floats first, then int8; those of libraries only if `engines`."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, size, generator=generator) / size**0.5
    x = torch.randn(rows, size, generator=generator)
    codes, scale = rounded(weight)
    half, wide = x.bfloat16(), weight.bfloat16()
    found: dict[str, Layer] = {
        "float32": lambda: F.linear(x, weight),
        "bfloat16": lambda: F.linear(half, wide),
        "int8 weights, written out": lambda: dequantise_then_multiply(x, codes, scale),
        "int8 both, ours": lambda: integer_product(x, codes, scale),
    }
    if engines:
        layer, onnx = torchao_layer(weight), onnx_sessions(weight)
        found["int8 both, torchao"] = lambda: layer(x)
        found["float32, ONNX Runtime"] = lambda: onnx["float32"](x)
        found["int8 both, ONNX Runtime"] = lambda: onnx["int8"](x)
    return found


@torch.no_grad()
def race(shapes: dict[str, tuple[int, int, int]], pairs: int = 9) -> dict[str, bench.Comparison]:
    """All routes at each shape (rows, out, in), interleaved: {name of the shape: times}. Short calls are repeated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: bench.compare(routes(*shape), pairs=pairs, min_time=5e-4) for name, shape in shapes.items()
        }


def fused(rows: int, out: int, size: int, seed: int = 0) -> dict[str, Layer]:
    """A product whose kernel reads few bits and widens them in registers, beside float32 and bfloat16.

    PyTorch's own kernels: int8 with a scale per channel, int4 with one per group of 32, activations in bfloat16.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, size, generator=generator) / size**0.5
    x = torch.randn(rows, size, generator=generator)
    half, codes_scale = x.bfloat16(), rounded(weight)
    codes, scale = codes_scale[0], codes_scale[1].flatten().bfloat16()
    wide, (packed, scales) = weight.bfloat16(), pack_int4(weight)
    return {
        "float32": lambda: F.linear(x, weight),
        "bfloat16": lambda: F.linear(half, wide),
        "int8 weights": lambda: torch._weight_int8pack_mm(half, codes, scale),
        "int4 weights": lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(half, packed, 32, scales),
    }


def pack_int4(weight: torch.Tensor, group: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Two codes in a byte, as PyTorch's CPU kernel wants them, and scales and middles (in/group, out, 2)."""
    blocks = weight.view(weight.shape[0], -1, group)
    low, high = blocks.amin(2), blocks.amax(2)
    scale = (high - low).clamp(min=1e-6) / 15
    codes = ((blocks - low[..., None]) / scale[..., None]).round().clamp(0, 15).view(weight.shape)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
    middles = low + 8 * scale  # the kernel computes (code - 8) · scale + middle
    return packed, torch.stack((scale, middles), -1).transpose(0, 1).contiguous().bfloat16()


@torch.no_grad()
def by_rows(counts: tuple[int, ...], out: int, size: int, pairs: int = 5) -> dict[int, bench.Comparison]:
    """`fused` at each number of rows, which is the batch when a language model decodes; four times as many pairs for
    up to four rows, whose calls are short and wait for memory."""
    return {
        rows: bench.compare(fused(rows, out, size), pairs=pairs * (4 if rows <= 4 else 1), warmup=1)
        for rows in counts
    }
