"""A model repository: the folder from which an inference server loads its models.

digits/config.pbtxt      what the model takes and gives, and how the server may batch
digits/1/model.onnx      version 1 of the network
digits/1/model.py        for NVIDIA Triton's Python backend: the program that runs it
"""

import functools
import shutil
from pathlib import Path
from typing import Any

from week07_inference_software import kserve

HERE = Path(__file__).parent


def config(name: str, most: int = 0, delay: int | None = None, more: str = "") -> str:
    """The text of a config.pbtxt for the digits.

    Args:
        most: `max_batch_size`. The first axis is then the batch, and `dims` are the sizes after it.
        delay: microseconds for which a request may wait for others; None: requests are not joined.
        more: further lines.
    """
    batching = "" if delay is None else f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}\n"
    return f"""name: "{name}"
backend: "python"
max_batch_size: {most}
input [ {{ name: "image" data_type: TYPE_FP32 dims: [ 1, 8, 8 ] }} ]
output [
  {{ name: "scores" data_type: TYPE_FP32 dims: [ 10 ] }},
  {{ name: "rows" data_type: TYPE_INT64 dims: [ 1 ] }}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
{batching}{more}"""


def read(text: str) -> Any:
    """What a config.pbtxt says, as an `effdl.ModelConfig` of `model_config.proto`.

    Raises ValueError with line and column where the text is not protocol buffers' text format.
    """
    from google.protobuf import text_format

    try:
        kind = kserve.messages("model_config")["effdl.ModelConfig"]
        return text_format.Parse(text, kind(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ValueError(f"config.pbtxt, {error}") from None


def write(folder: Path, name: str, text: str) -> Path:
    """A model in the repository `folder`, its config.pbtxt being `text`. Gives the model's folder."""
    model = folder / name
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "config.pbtxt").write_text(text, encoding="utf-8")
    (model / "1" / "model.onnx").write_bytes(_network())
    shutil.copy(HERE / "triton_model.py", model / "1" / "model.py")
    return model


@functools.cache
def _network() -> bytes:
    from week07_inference_software import digits  # with PyTorch, which a server that only reads does not need

    return digits.onnx_bytes(digits.trained())
