"""Builds the site from what is committed: ``make site``.

    python -m website.build                    the whole site, into build/site
    python -m website.build --week 1 --to DIR  one week, for a quick look

Nothing is executed and nothing fetched. Homework stands on it as students get it: `grader`'s own release writes it
into a folder aside, and what it refuses to release is not built.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from effdl.sources import ROOT
from grader.course import CourseError
from website.layout import lay_out, released

HERE = Path(__file__).resolve().parent


INDEX = "objects.inv"
"""What every site of Sphinx has, and no folder that somebody filled by hand."""


class SiteError(Exception):
    """The site cannot be built; the message says which page is to be mended."""


def build(target: Path, weeks: list[int] | None = None, course: Path | None = None) -> None:
    """Build the site into `target`, in place of an older one; of all weeks, or of those with these numbers.

    `course` is a released course root, as :func:`website.layout.lay_out` takes it. Raises SiteError where Sphinx had
    a warning (every one is a page to be mended), and for a folder that holds something else than a site.
    """
    if target.exists() and not (target / INDEX).is_file() and (target.is_file() or any(target.iterdir())):
        raise SiteError(
            f"{target}: holds something that is no site; name a new folder, or empty this one first"
        )
    from sphinx.cmd.build import main as sphinx

    with tempfile.TemporaryDirectory(prefix="site-") as aside:
        folder = Path(aside)
        lay_out(folder / "pages", weeks, course)
        made = folder / "made"
        rules = ["--quiet", "--fail-on-warning", "--jobs", "auto"]
        if sphinx([*rules, "-d", str(folder / "env"), "-c", str(HERE), str(folder / "pages"), str(made)]):
            raise SiteError("the site was not built; the lines above say which pages have to be mended")
        shutil.rmtree(made / "_sources", ignore_errors=True)  # empty: pages are not copied
        (made / ".buildinfo").unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)


def main(
    to: Annotated[Path, typer.Option(help="The folder of the site; what is in it is replaced.")] = ROOT
    / "build"
    / "site",
    week: Annotated[list[int] | None, typer.Option(help="Only this week, without homework.")] = None,
) -> None:
    """Build the site from the committed notebooks; nothing is executed."""
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="site-release-") as aside:
            build(to, week or None, None if week else released(Path(aside) / "assignments"))
    except (SiteError, CourseError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    pages = sum(1 for _ in to.rglob("*.html"))
    print(f"{pages} pages in {time.perf_counter() - began:.0f} s; open {to / 'index.html'} in a browser")


if __name__ == "__main__":
    typer.run(main)
