"""Run a notebook's source as a plain script, where there is no Jupyter.

    python -m effdl.run week01_intro/seminar.md

The cells run in one namespace, in the notebook's folder. Every figure is saved as ``figNN.png`` and
everything printed as ``log.txt`` in the output folder, ``.cache/runs/<week>-<notebook>`` unless --out says
otherwise. This is how results are recorded on a bare GPU server (EFFDL_RECORD=1).
"""

import ast
import contextlib
import linecache
import os
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

ROOT = Path(__file__).resolve().parent.parent


class Tee:
    """A text stream that writes to the terminal and to the log."""

    def __init__(self, terminal: TextIO, log: TextIO):
        self.terminal, self.log = terminal, log

    def write(self, text: str) -> int:
        self.log.write(text)
        return self.terminal.write(text)

    def flush(self) -> None:
        self.terminal.flush()
        self.log.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


def run_cell(source: str, filename: str, namespace: dict[str, Any]) -> None:
    """Run one cell like Jupyter: the value of a last expression without a semicolon is printed."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    tree = ast.parse(source, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, filename, "exec"), namespace)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), filename, "eval"), namespace)
        if value is not None and not source.rstrip().endswith(";"):
            getattr(value, "_ipython_display_", lambda: print(repr(value)))()


def save_figures(out: Path, count: int) -> int:
    """Save and close the open figures as fig01.png, fig02.png, ...; return how many there are by now."""
    from matplotlib import pyplot as plt

    for number in plt.get_fignums():
        count += 1
        plt.figure(number).savefig(out / f"fig{count:02d}.png")
        print(f"[figure saved: fig{count:02d}.png]")
        plt.close(number)
    return count


def run(source: Path, out: Path) -> bool:
    """Run the code cells of a notebook source in order; stop at the first error and return False."""
    import matplotlib

    from effdl.fences import from_markdown

    matplotlib.use("Agg")
    cells = [
        cell.source
        for cell in from_markdown(source.read_text(encoding="utf-8")).cells
        if cell.cell_type == "code"
    ]
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("fig*.png"):
        old.unlink()
    # Like a kernel, and unlike this file, the notebook is a __main__ without a path: a spawned child does
    # not try to run it again.
    main_module = types.ModuleType("__main__")
    runner, sys.modules["__main__"] = sys.modules["__main__"], main_module
    before = Path.cwd()
    sys.path[:0] = [str(source.parent.resolve()), str(ROOT)]
    os.environ["EFFDL_NOTEBOOK"] = str(source.resolve())
    figures, ok = 0, True
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        try:
            os.chdir(source.parent)
            with (
                contextlib.redirect_stdout(Tee(sys.stdout, log)),
                contextlib.redirect_stderr(Tee(sys.stderr, log)),
            ):
                for number, cell in enumerate(cells, start=1):
                    start = time.perf_counter()
                    try:
                        run_cell(cell, f"<{source.name}, code cell {number}>", main_module.__dict__)
                    except Exception:
                        traceback.print_exc()
                        print(f"{source.name}: code cell {number} of {len(cells)} failed")
                        ok = False
                        break
                    figures = save_figures(out, figures)
                    print(
                        f"[cell {number}/{len(cells)}: {time.perf_counter() - start:.2f} s]", file=sys.stderr
                    )
        finally:
            os.chdir(before)
            sys.modules["__main__"] = runner
            os.environ.pop("EFFDL_NOTEBOOK")
            del sys.path[:2]
    return ok


def main(
    source: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="a notebook source, lecture.md")
    ],
    out: Annotated[Path | None, typer.Option(help="folder for log.txt and the figures")] = None,
    strict: Annotated[bool, typer.Option(help="EFFDL_STRICT=1: see effdl.claims")] = False,
) -> None:
    """Run a notebook source as a plain script."""
    if strict:
        os.environ["EFFDL_STRICT"] = "1"
    out = out or ROOT / ".cache" / "runs" / f"{source.resolve().parent.name}-{source.stem}"
    from effdl import claims

    ok = run(source, out)
    held = sum(claim.holds for claim in claims.made)
    print(f"\n{held} of {len(claims.made)} claims hold; log and figures in {out}")
    for claim in claims.made:
        if claim.holds:
            print(f"{claims.TICK} {claim.text}: {claim.shown} ({claim.bound})")
    for line in claims.misses_in_words(claim for claim in claims.made if not claim.holds):
        print(line)
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
