"""What a notebook page needs beside code: source of a function, captions, tables, exercise checks.

Each call shows HTML in Jupyter and plain text elsewhere, so that the same cell runs under ``effdl.run``.
"""

import html
import inspect
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

TICK, CROSS = "✓", "✗"


def in_jupyter() -> bool:
    """True in a Jupyter kernel, where HTML and images can be displayed."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class Verdict(int):
    """A truth value that was already shown: Jupyter does not print it again at the end of a cell."""

    def _ipython_display_(self) -> None:
        """Show nothing."""


def publish(text: str, **mime: Any) -> None:
    """Show one output: ``mime`` (html=..., markdown=...) in Jupyter, with ``text`` for everywhere else."""
    if not in_jupyter():
        print(text)
        return
    from IPython.display import display

    bundle = {f"text/{kind}": content for kind, content in mime.items()}
    display({**bundle, "text/plain": text}, raw=True)


def show(*objects: Any) -> None:
    """Display the exact source of functions, classes or modules: the code that the tests check.

    Raises TypeError where Python has no source for an object (a built-in, a value).
    """
    for item in objects:
        try:
            lines, start = inspect.getsourcelines(item)
        except (TypeError, OSError) as error:
            raise TypeError(
                f"show() cannot find the source of {item!r}; pass a function, class or module of a .py file"
            ) from error
        source = textwrap.dedent("".join(lines)).rstrip()
        module = getattr(inspect.getmodule(item), "__name__", "")
        where = f"{module.replace('.', '/')}.py" + (f", line {start}" if start else "")
        publish(f"# {where}\n{source}", markdown=f"`{where}`\n\n```python\n{source}\n```")


_captions = 0


def caption(fig: Any, text: str, alt: str) -> None:
    """Display a matplotlib figure with a numbered caption, and alternative text for those who cannot see it.

    ``text`` says what to look at; ``alt`` says what is drawn. Raises ValueError if either is empty.
    Under ``effdl.run`` the figure stays open, for the runner to save.
    """
    for name, value in (("text", text), ("alt", alt)):
        if not value.strip():
            raise ValueError(
                f"caption() needs a non-empty {name}: every figure has a caption and alternative text"
            )
    if not in_jupyter():
        print(f"Figure: {text}")
        return
    from IPython.display import Image, display
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    plt.close(fig)
    display(Image(data=buffer.getvalue(), format="png", alt=alt))
    publish(f"Figure: {text}", markdown=f"*Figure: {text}*")


class Table:
    """A small table that displays as HTML in Jupyter and as aligned text elsewhere."""

    def __init__(self, headers: Sequence[str], rows: Iterable[Sequence[Any]], title: str = ""):
        """Raise ValueError if a row has not as many cells as there are headers."""
        self.headers = list(headers)
        self.rows = [[str(cell) for cell in row] for row in rows]
        self.title = title
        for row in self.rows:
            if len(row) != len(self.headers):
                raise ValueError(f"a table with headers {self.headers} cannot hold the row {row}")

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.headers)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in [self.headers, *self.rows]) for i in range(len(self.headers))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [self.headers, ["-" * width for width in widths], *self.rows]
        ]
        return "\n".join([self.title, *lines] if self.title else lines)

    __repr__ = __str__


def _same(yours: Any, specification: Any, rel: float) -> bool:
    if isinstance(specification, torch.Tensor):
        return (
            isinstance(yours, torch.Tensor)
            and yours.shape == specification.shape
            and torch.allclose(yours.double(), specification.double(), rtol=rel, atol=rel)
        )
    if isinstance(specification, float) and isinstance(yours, int | float):
        return math.isclose(yours, specification, rel_tol=rel, abs_tol=rel)
    return bool(yours == specification)


def check_exercise(
    name: str, yours: Callable[..., Any], cases: Iterable[tuple[tuple, Any]], rel: float = 1e-6
) -> Verdict:
    """Print what ``yours`` returns beside what the specification says, one line per case. Never raises.

    ``cases`` holds pairs (arguments, specified result); floats and tensors are compared within ``rel``.
    """
    rows, passed = [], True
    for arguments, specification in cases:
        try:
            value = yours(*arguments)
            right, shown = _same(value, specification, rel), repr(value)
        except NotImplementedError:
            right, shown = False, "not written yet"
        except Exception as error:  # any failure of a reader's code is a row of the table
            right, shown = False, f"{type(error).__name__}: {error}"
        passed = passed and right
        call = ", ".join(repr(argument) for argument in arguments)
        rows.append([f"({call})", shown, repr(specification), TICK if right else CROSS])
    table = Table(["arguments", "yours", "specification", ""], rows, title=name)
    publish(str(table), html=table._repr_html_())
    return Verdict(passed)
