"""The MLP of a block in ONNX Runtime, in float32 and in int8, and in torchao: what one calls instead of one's own."""

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from effdl import bench
from week08_compress_models import language_model as lm
from week08_compress_models import running


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the advice that exporters and quantisers print and log."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "torch")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def mlp(width: int, seed: int = 0) -> nn.Module:
    """The gated MLP of a block, twice as wide inside, with random weights: only its time is of interest."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lm.MLP(lm.Config(width=width, hidden=2 * width)).eval()


def to_onnx(model: nn.Module, width: int, path: Path) -> None:
    """The module as an ONNX file with the names "x" (rows, width) and "y"; any number of rows."""
    with quietly():
        torch.onnx.export(
            model,
            (torch.randn(3, width),),
            path,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def to_int8(source: Path, target: Path) -> None:
    """ONNX Runtime's own ten lines: weights in int8, a step a channel; activations in uint8, found as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quietly():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


class Session(nn.Module):
    """An ONNX file of `to_onnx` or `to_int8` as a module: (rows, width) float32 to the same."""

    def __init__(self, path: Path, threads: int | None = None):
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()  # as many as PyTorch has
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(self, x: Tensor) -> Tensor:
        """(rows, width) float32 to the same shape."""
        (y,) = self.session.run(None, {"x": x.numpy()})
        return torch.from_numpy(y)


def by_torchao(model: nn.Module) -> nn.Module:
    """A copy with torchao's dynamic int8 layers: weights a step a channel, activations a step a row."""
    with quietly():  # it tells of kernels for GPUs that it cannot load
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = copy.deepcopy(model)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


HEADS = ["MLP", "PyTorch", "ours", "ONNX Runtime", "its int8", "torchao", "ONNX float over int8"]
WAYS = ("PyTorch, float32", "ours, int8", "ONNX Runtime, float32", "ONNX Runtime, int8", "torchao, int8")


def measured(
    widths: Sequence[int], rows: Sequence[int], sessions: bool, torchao: bool, pairs: int = 12
) -> tuple[dict[tuple[int, int], bench.Comparison], dict[str, float]]:
    """Times of the MLP by (rows, width) in each of WAYS that is installed; and each way's largest relative error."""
    found, apart = {}, {}
    for width in widths:
        model = mlp(width)
        ways: dict[str, nn.Module] = {WAYS[0]: model, WAYS[1]: running.all_eight(model)}
        if sessions:
            with tempfile.TemporaryDirectory() as folder:
                plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
                to_onnx(model, width, plain)
                to_int8(plain, small)
                ways |= {WAYS[2]: Session(plain), WAYS[3]: Session(small)}
        if torchao:
            ways[WAYS[4]] = by_torchao(model)
        for count in rows:
            x = torch.randn(count, width, generator=torch.Generator().manual_seed(count))
            with torch.inference_mode():
                right = model(x)
                for name, way in ways.items():
                    apart[name] = max(apart.get(name, 0.0), float((way(x) - right).norm() / right.norm()))
                found[count, width] = bench.compare(
                    {name: lambda way=way, x=x: way(x) for name, way in ways.items()}, pairs=pairs
                )
    return found, apart


def table(found: Mapping[tuple[int, int], bench.Comparison], apart: Mapping[str, float]) -> list[list[str]]:
    """A row of times for each size, and one of errors."""
    lines = []
    for (count, width), times in found.items():
        cells = [bench.readable(times.median(name)) if name in apart else "" for name in WAYS]
        ratio = f"{float(times.ratio(WAYS[2], WAYS[3])):.2f}x" if WAYS[3] in apart else ""
        lines.append([f"{count} rows, width {width}", *cells, ratio])
    errors = [f"{apart[name]:.1e}" if name in apart else "" for name in WAYS]
    return [*lines, ["largest error, relative", *errors, ""]]
