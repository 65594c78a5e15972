"""A small network for handwritten digits, and its two files: ONNX for servers and onnxruntime-web, JSON for tfjs.

The digits come with scikit-learn: 1,797 of 43 people, 8 x 8 numbers from 0 to 16. Each number counts the pixels that
are on in a square of 4 x 4 of a 32 x 32 bitmap. That sentence is the whole pre-processing, and every place that runs
the network has to repeat it: here `blocks`, in the browser `prepare.mjs`.

Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998.
"""

import contextlib
import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BITMAP, SIDE = 32, 8  # pixels of the bitmap, numbers of the network's input
BLOCK = BITMAP // SIDE
HIGHEST = BLOCK * BLOCK  # a square with every pixel on
TRAIN = 1200  # the first pictures; the others come from other writers


@functools.cache
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) float32 of whole numbers from 0 to 16, and their digits (1797,) int64."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.float32), data.target.astype(np.int64)


def network() -> nn.Sequential:
    """Two convolutions and one linear layer: (n, 1, 8, 8) between 0 and 1 to (n, 10) scores; 6,090 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


@contextlib.contextmanager
def _one_thread():
    """A network this small is slower with more threads, twenty times on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def trained(epochs: int = 15) -> nn.Sequential:
    """The network, trained from one seed on the first 1,200 pictures; some two seconds."""
    images, labels = pictures()
    x, y = torch.from_numpy(images[:TRAIN, None] / HIGHEST), torch.from_numpy(labels[:TRAIN])
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(7)
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(epochs):
            for batch in torch.randperm(TRAIN).split(64):
                loss = F.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()


def test_set() -> tuple[np.ndarray, np.ndarray]:
    """The 597 pictures that `trained` has not seen, as the network takes them: (597, 1, 8, 8) float32, and digits."""
    images, labels = pictures()
    return images[TRAIN:, None] / np.float32(HIGHEST), labels[TRAIN:]


def answers(model: nn.Module, batch: np.ndarray) -> np.ndarray:
    """The scores (n, 10) float32 of a batch (n, 1, 8, 8) float32, by PyTorch."""
    with torch.inference_mode():
        return model(torch.from_numpy(batch)).numpy()


def blocks(bitmap: np.ndarray) -> np.ndarray:
    """The network's input (1, 1, 8, 8) float32 from a bitmap (32, 32) of bool: the pixels on in each 4 x 4, by 16."""
    counts = bitmap.reshape(SIDE, BLOCK, SIDE, BLOCK).sum(axis=(1, 3))
    return (counts / HIGHEST).astype(np.float32)[None, None]


def prepare(rgba: np.ndarray) -> np.ndarray:
    """The network's input (1, 1, 8, 8) float32 from a drawing (height, width, 4) of uint8, in whole numbers.

    Ink is where alpha is at least 128. A square around it, as wide as its longer side, is sampled at 32 x 32 places.
    `browser/prepare.mjs` does the same; a drawing without ink gives zeros.
    """
    ink = rgba[:, :, 3] >= 128
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return np.zeros((1, 1, SIDE, SIDE), np.float32)
    side = int(max(np.ptp(rows), np.ptp(columns))) + 1
    places = (2 * np.arange(BITMAP) + 1) * side // (2 * BITMAP)
    y = (rows[0] + rows[-1] + 1 - side) // 2 + places
    x = (columns[0] + columns[-1] + 1 - side) // 2 + places
    inside = ((y >= 0) & (y < ink.shape[0]))[:, None] & ((x >= 0) & (x < ink.shape[1]))[None]
    bitmap = ink[np.ix_(y.clip(0, ink.shape[0] - 1), x.clip(0, ink.shape[1] - 1))] & inside
    return blocks(bitmap)


def onnx_bytes(model: nn.Sequential) -> bytes:
    """The network as an ONNX file whose batch may have any size, written operator by operator.

    A second output, `rows` (n, 1) int64, says in each row how many rows the network ran on: whoever gets an answer
    can tell the size of the batch that it was computed in. `torch.onnx.export` would write the rest of the file in
    some seconds (lecture 1); a page that opens has none to spare.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = {name: value.numpy() for name, value in model.state_dict().items()} | {"one": np.array([1])}
    node, info = helper.make_node, helper.make_tensor_value_info
    convolution = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", ["image", "0.weight", "0.bias"], ["c0"], **convolution),
        node("Relu", ["c0"], ["r0"]),
        node("MaxPool", ["r0"], ["p0"], **pool),
        node("Conv", ["p0", "3.weight", "3.bias"], ["c1"], **convolution),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], **pool),
        node("Flatten", ["p1"], ["flat"]),
        node("Gemm", ["flat", "7.weight", "7.bias"], ["scores"], transB=1),
        node("Shape", ["image"], ["size"], start=0, end=1),
        node("Concat", ["size", "one"], ["column"], axis=0),
        node("Expand", ["size", "column"], ["rows"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [info("scores", TensorProto.FLOAT, ["batch", 10]), info("rows", TensorProto.INT64, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def tfjs_layers() -> list[dict]:
    """The layers of `network` in the words of TensorFlow.js, whose pictures have their channels last."""

    def convolution(name, filters, **more):
        return _layer(
            "Conv2D", name, filters=filters, kernel_size=[3, 3], padding="same", activation="relu", **more
        )

    return [
        convolution("first", 16, batch_input_shape=[None, SIDE, SIDE, 1], dtype="float32"),
        _layer("MaxPooling2D", "half", pool_size=[2, 2], strides=[2, 2]),
        convolution("second", 32),
        _layer("MaxPooling2D", "quarter", pool_size=[2, 2], strides=[2, 2]),
        _layer("Flatten", "flat"),
        _layer("Dense", "scores", units=10),
    ]


def _layer(kind: str, name: str, **settings) -> dict:
    return {"class_name": kind, "config": {"name": name, **settings}}


def tfjs_weights(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's weights by the names and in the order of axes that TensorFlow.js expects.

    A convolution's kernel goes from (out, in, height, width) to (height, width, in, out). The dense kernel is
    transposed, and its 128 inputs change places too: PyTorch flattens (channel, row, column), TensorFlow.js flattens
    (row, column, channel).
    """
    dense = weights["7.weight"].reshape(10, 32, 2, 2).transpose(2, 3, 1, 0).reshape(128, 10)
    return {
        "first/kernel": weights["0.weight"].transpose(2, 3, 1, 0),
        "first/bias": weights["0.bias"],
        "second/kernel": weights["3.weight"].transpose(2, 3, 1, 0),
        "second/bias": weights["3.bias"],
        "scores/kernel": dense,
        "scores/bias": weights["7.bias"],
    }


def write_tfjs(folder: Path, named: dict[str, np.ndarray]) -> None:
    """Write a layers model, `model.json` and `weights.bin`, without TensorFlow's converter.

    The JSON holds the layers and, in `weightsManifest`, names, shapes and types in the order in which the numbers
    stand in the binary file: little-endian float32, row by row, one after the other.
    """
    manifest = [
        {"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in named.items()
    ]
    model = {
        "format": "layers-model",
        "generatedBy": "effdl",
        "convertedBy": None,
        "modelTopology": {
            "keras_version": "2.15.0",
            "backend": "tensorflow",
            "model_config": {
                "class_name": "Sequential",
                "config": {"name": "digits", "layers": tfjs_layers()},
            },
        },
        "weightsManifest": [{"paths": ["weights.bin"], "weights": manifest}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    numbers = [np.ascontiguousarray(value, "<f4").tobytes() for value in named.values()]
    (folder / "weights.bin").write_bytes(b"".join(numbers))
