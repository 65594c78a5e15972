"""What a notebook page needs beside code: source of a function, captions, tables, exercise checks.

Each call shows HTML in Jupyter and plain text elsewhere, so that the same cell runs under ``effdl.run``.
"""

import copy
import html
import inspect
import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
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
        fence = "````" if "```" in source else "```"
        # A page holds the code once; where no Markdown is shown the plain text is all there is.
        plain = f"# {where}" if in_jupyter() else f"# {where}\n{source}"
        publish(plain, markdown=f"`{where}`\n\n{fence}python\n{source}\n{fence}")


def _png(fig: Any) -> bytes:
    """The figure as PNG with a palette: a third of the size, so that twenty figures fit on a page of 300 KB."""
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png")
    colours = 256 if any(axes.images for axes in fig.axes) else 64  # a photograph needs more than lines do
    palette = Image.open(raw).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    palette.save(small, "PNG", optimize=True)
    return small.getvalue()


def _animated_png(frames: Sequence[Any]) -> bytes:
    """Images of one size as an animated PNG: it moves wherever a PNG is shown by a browser, for ever.

    Elsewhere (a print, a PDF) the first frame stands. A frame lasts 0.7 s; equal ones in a row last longer.
    """
    from PIL import Image

    # One palette for all frames, or colours would flicker; of the commonest colours, so that white stays white.
    # (Pillow's own mapping to a palette is only near.)
    pixels = np.stack([np.asarray(frame.convert("RGB")) for frame in frames])
    packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    numbers, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1)
    palette = colours[np.argsort(-counts)[:48]]
    nearest = np.abs(colours[:, None] - palette).sum(2).argmin(1).astype(np.uint8)
    small = [Image.fromarray(indices).convert("P") for indices in nearest[where].reshape(packed.shape)]
    for image in small:
        image.putpalette(palette.astype(np.uint8).tobytes())
    target = io.BytesIO()
    small[0].save(target, "PNG", save_all=True, append_images=small[1:], duration=700, loop=0, optimize=True)
    return target.getvalue()


def caption(fig: Any, text: str, alt: str) -> None:
    """Display a figure with a caption, and alternative text for those who cannot see it.

    ``fig`` is a matplotlib figure, or a list of PIL images: the frames of an animation. ``text`` says what to look
    at; ``alt`` says what is drawn. Raises ValueError if either is empty.
    Under ``effdl.run`` a figure stays open, for the runner to save; an animation is not shown.
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

    if isinstance(fig, list):
        display(Image(data=_animated_png(fig), format="png", alt=alt))
    else:
        display(Image(data=_png(fig), format="png", alt=alt))
        plt.close(fig)
    # JupyterLab drops an image's alternative text, so the page carries it too, folded.
    words = f"<details><summary>The figure in words</summary>\n\n{alt}\n\n</details>"
    publish(f"Figure: {text}", markdown=f"*Figure: {text}*\n\n{words}")


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
        def row(cells: list[str], tag: str) -> str:
            first, *rest = (html.escape(cell) for cell in cells)
            numbers = "".join(f"<{tag}>{cell}</{tag}>" for cell in rest)
            return f'<tr><{tag} style="text-align:left">{first}</{tag}>{numbers}</tr>'

        title = f"<p>{html.escape(self.title)}</p>" if self.title else ""
        body = "".join(row(cells, "td") for cells in self.rows)
        return f"{title}<table><thead>{row(self.headers, 'th')}</thead><tbody>{body}</tbody></table>"

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
            and torch.allclose(yours.double(), specification.double(), rtol=rel, atol=rel, equal_nan=True)
        )
    if isinstance(specification, np.ndarray):
        return np.shape(yours) == specification.shape and np.allclose(yours, specification, rel, rel, True)
    if isinstance(specification, list | tuple):
        return (
            isinstance(yours, list | tuple)
            and len(yours) == len(specification)
            and all(_same(mine, other, rel) for mine, other in zip(yours, specification, strict=True))
        )
    if isinstance(specification, float):
        return math.isclose(yours, specification, rel_tol=rel, abs_tol=rel)
    return bool(yours == specification)


def _short(value: Any) -> str:
    """One line of at most 72 characters."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 72 else line[:71] + "…"


def check_exercise(
    name: str, yours: Callable[..., Any], cases: Iterable[tuple[tuple, Any]], rel: float = 1e-6
) -> Verdict:
    """Show what ``yours`` returns beside what the specification says, one row per case. Never raises.

    ``cases`` holds pairs (arguments, specified result). ``yours`` gets a copy of the arguments. Floats,
    tensors and arrays are compared within ``rel``, relative or absolute. True if every case is right.
    """
    rows, passed = [], True
    for arguments, specification in cases:
        try:
            value = yours(*copy.deepcopy(arguments))
            right, shown = _same(value, specification, rel), _short(value)
        except NotImplementedError:
            right, shown = False, "not written yet"
        except Exception as error:  # any failure of a reader's code is a row of the table
            right, shown = False, f"{type(error).__name__}: {error}"
        passed = passed and right
        call = ", ".join(_short(argument) for argument in arguments)
        rows.append([call, shown, _short(specification), TICK if right else CROSS])
    title = f"{name}: {sum(row[-1] == TICK for row in rows)} of {len(rows)} cases right"
    table = Table(["arguments", "yours", "specification", ""], rows, title=title)
    publish(str(table), html=table._repr_html_())
    return Verdict(passed)
