"""From a Python function to a graph: what TorchScript's trace and script, and torch.export do with control flow."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
RIGHT, WRONG, REFUSED = "right", "wrong", "refused"


def absolute(x: Tensor) -> Tensor:
    """Python decides by a value of the tensor (rows, columns)."""
    return -x if x.sum() < 0 else x


def absolute_by_cond(x: Tensor) -> Tensor:
    """The same decision as an operation of the graph, which then holds both branches."""
    return torch.cond(x.sum() < 0, lambda x: -x, lambda x: x.clone(), (x,))


def mean(x: Tensor) -> Tensor:
    """Python's len() makes a number of a size: the mean over rows."""
    return x.sum(0) / len(x)


def mean_by_shape(x: Tensor) -> Tensor:
    """The same with a size that a graph can keep as a symbol."""
    return x.sum(0) / x.shape[0]


def decayed(x: Tensor) -> Tensor:
    """Python counts through the rows: later ones weigh more."""
    y = torch.zeros_like(x[0])
    for i in range(x.shape[0]):
        y = 0.5 * y + x[i]
    return y


@contextlib.contextmanager
def quietly():
    """Exporters and converters print and warn at length; what they raise still comes through."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Module(nn.Module):
    """torch.export takes modules only."""

    def __init__(self, function: Function):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def traced(function: Function, example: Tensor) -> Function:
    """TorchScript's trace: run once, write down each operation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated, and for some functions that it may be wrong
        return torch.jit.trace(function, (example,), check_trace=False)


def scripted(function: Function, example: Tensor) -> Function:
    """TorchScript's script: compile the source of the function. The example is not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)


def exported(function: Function, example: Tensor) -> Function:
    """torch.export, with a number of rows that may vary if the function allows it."""
    with quietly():
        shapes = ({0: torch.export.Dim.AUTO},)
        return torch.export.export(_Module(function), (example,), dynamic_shapes=shapes).module()


def warnings_of(function: Function, example: Tensor) -> list[str]:
    """What tracing warns of, apart from its being deprecated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.jit.trace(function, (example,), check_trace=False)
    return [str(w.message) for w in caught if "deprecated" not in str(w.message)]


def calls(seed: int = 0) -> list[Tensor]:
    """A hundred inputs of two to nine rows and three columns, about half of them with a negative sum."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2 + number % 8, 3, generator=generator) for number in range(100)]


def outcomes(
    capture: Callable[[Function, Tensor], Function], function: Function, inputs: Iterable[Tensor]
) -> dict[str, int]:
    """Capture with four rows of ones, then call with each input: how many answers are right, wrong and refused.

    A function that cannot be captured counts as refused for each input.
    """
    found = dict.fromkeys((RIGHT, WRONG, REFUSED), 0)
    try:
        captured = capture(function, torch.ones(4, 3))
    except Exception:
        captured = None
    for x in inputs:
        found[_outcome(captured, function, x)] += 1
    return found


def _outcome(captured: Function | None, function: Function, x: Tensor) -> str:
    if captured is None:
        return REFUSED
    try:
        answer = captured(x)
    except Exception:
        return REFUSED
    return RIGHT if torch.allclose(answer, function(x), atol=1e-6) else WRONG


CAPTURES: Mapping[str, Any] = {"trace": traced, "script": scripted, "torch.export": exported}
