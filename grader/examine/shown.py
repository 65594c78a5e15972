"""Any value that a submission may have sent, as a short text: nothing of it is written out that is not shown.

PyTorch prints a tensor whole where none of its sizes is above 6, be it of 28 dimensions: 256 MiB become hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grader.later import torch

LIMIT, MESSAGE = 200, 500  # characters, of a value and of an exception


def kind(value: Any) -> str:
    """Return of what kind a value is: type, dtype and shape of a tensor."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def short(value: Any, limit: int = LIMIT) -> str:
    """Return a value as text of at most `limit` characters, which all can be shown."""
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    text = value[: limit + 1] if isinstance(value, str) else _written(value, limit + 1)
    # A submission's text is shown on a terminal and in a browser: no escapes, bells or directions of writing.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def said(error: BaseException) -> str:
    """Return the message of an exception that our own code raised over a value of a submission."""
    if all(type(one) in (str, int, float, bool, type(None)) for one in error.args):
        return short(str(error), MESSAGE)
    return short(list(error.args), MESSAGE)


def _tensor(value: torch.Tensor) -> str:
    if value.numel() == 1:
        return f"{value.item():.8g}" if value.is_floating_point() else str(value.item())
    head = ", ".join(f"{x:.4g}" for x in value.flatten()[:4].tolist())
    return f"{kind(value)}: [{head}{', ...' if value.numel() > 4 else ''}]"


def _written(value: Any, room: int) -> str:
    """Return `repr(value)`, but of tensors what `short` says, and not much more than its first `room` characters."""
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, (str, bytes)):
        return repr(value[:room])
    if isinstance(value, list):
        return f"[{_joined(((item,) for item in value), room)}]"
    if type(value) is tuple:
        return f"({_joined(((item,) for item in value), room)}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return f"{{{_joined(value.items(), room)}}}"
    return repr(value)


def _joined(entries: Iterable[tuple[Any, ...]], room: int) -> str:
    parts: list[str] = []
    for entry in entries:
        if room <= 0:
            break
        parts.append(": ".join(_written(one, room) for one in entry))
        room -= len(parts[-1]) + 2
    return ", ".join(parts)
