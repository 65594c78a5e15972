"""The model of a server under test: it lives in the examiner, who sees every batch and says how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grader.examine.shown import kind, said, short
from grader.later import torch

MOST_BATCHES = 100_000


@dataclass(frozen=True)
class Batch:
    """One call of the model, as the examiner saw it."""

    size: int
    began: float
    """`time.perf_counter` when the whole batch had come."""
    seconds: float
    """Service time, as the model's `fixed + each * size` has it."""
    refused: str = ""
    """Why the model did not take it; empty where it did."""


class Model:
    """What a server is given as its model. Give it to `Submission.serve`; read `batches` afterwards.

    The student's function gets a callable; a call `model(batch)` travels to the examiner, who calls `function` with
    it, waits until its service time is over, and sends back what `function` returned. One call is served at a
    time, as on one accelerator; more of them, from several threads, wait. A batch that is not as asked for raises
    ValueError in the student's code, and takes no time.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        fixed: float = 0.0,
        each: float = 0.0,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        most: int | None = None,
    ):
        """Serve `function` in `fixed + each * size` seconds for a batch of this size (its length).

        `shape` is that of one row and `dtype` that of a batch, which then must be a tensor; `most` is the largest
        batch taken. Without `shape`, a batch is anything that has a length: a list, a tensor.
        """
        self._function, self._fixed, self._each = function, fixed, each
        self._shape, self._dtype, self._most = None if shape is None else tuple(shape), dtype, most
        self.batches: list[Batch] = []
        """All calls so far, those that were refused among them."""

    @property
    def sizes(self) -> list[int]:
        """The sizes of all batches that were taken, in their order."""
        return [batch.size for batch in self.batches if not batch.refused]

    def ask(self, batch: Any) -> tuple[dict[str, Any], float]:
        """Return what the worker is told, and how long that takes; never raises for what a submission sends."""
        began = time.perf_counter()
        size = len(batch) if isinstance(batch, (list, tuple)) or _is_rows(batch) else 0
        value, why = None, self._refuses(batch, size)
        if not why:
            try:
                value = self._function(batch)
            except (
                Exception
            ) as error:  # the submission's doing, or the author's, who then sees the reference fail
                why = f"the model cannot take this batch: {type(error).__name__}: {said(error)}"
        seconds = 0.0 if why else self._fixed + self._each * size
        if len(self.batches) < MOST_BATCHES:
            self.batches.append(Batch(size, began, seconds, why))
        return ({"refused": why} if why else {"value": value}), seconds

    def _refuses(self, batch: Any, size: int) -> str:
        if len(self.batches) >= MOST_BATCHES:
            return f"the model was called more than {MOST_BATCHES:,} times"
        if self._shape is not None:
            dtype = str(self._dtype or "any dtype").removeprefix("torch.")
            rows = f"{dtype}, [n{''.join(f', {n}' for n in self._shape)}]"
            right = _is_rows(batch) and tuple(batch.shape[1:]) == self._shape
            if not right or (self._dtype is not None and batch.dtype != self._dtype):
                return f"the model takes tensors of {rows}, and was called with {kind(batch)}"
        if not size:
            return f"the model takes batches of at least one, and was called with {kind(batch)}"
        if self._most is not None and size > self._most:
            return f"the model takes batches of at most {self._most}, and was called with {short(size)}"
        return ""


def _is_rows(batch: Any) -> bool:
    return isinstance(batch, torch.Tensor) and batch.dim() > 0
