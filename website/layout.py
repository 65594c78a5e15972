"""The folder that Sphinx reads: weeks, homework as released, claims and simulators, with links that lead to pages."""

import hashlib
import json
import os
import re
import shutil
from base64 import b64decode
from pathlib import Path

import nbformat

from effdl.claims_table import BEGIN, END
from effdl.sources import ROOT
from grader.course import Assignment, Course
from grader.steps.release import release
from website import claims
from website.extension import ALTS

HERE = Path(__file__).resolve().parent
LINK = re.compile(r"(?<![!\\])\[([^\[\]]+)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*[ \t]*$", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"[a-z]+:|#")


def lay_out(folder: Path, weeks: list[int] | None = None, course: Path | None = None) -> None:
    """Write the sources of the pages into `folder`: of all weeks or of those with these numbers.

    `course` is a course root in which every assignment is released (:func:`released`); without one there is no
    homework. Raises ValueError for a week that does not exist.
    """
    chosen = [path for path in sorted(ROOT.glob("week[0-9][0-9]_*")) if not weeks or number(path) in weeks]
    if weeks and len(chosen) < len(set(weeks)):
        raise ValueError(
            f"--week {max(weeks)}: there are weeks 1 to {len(list(ROOT.glob('week[0-9][0-9]_*')))}"
        )
    folder.mkdir(parents=True)
    alts: dict[str, dict[str, str]] = {}
    for week in chosen:
        _week(week, folder / week.name, alts)
    assignments = _homework(course, folder / "homework", alts) if course else []
    claims.write_page(folder / "claims.md", chosen)
    if assignments:
        (folder / "progress.md").write_text(_progress(assignments), encoding="utf-8")
    shutil.copytree(HERE / "simulators", folder / "simulators")
    (folder / "topics.md").write_text(_text(ROOT / "TOPICS.md"), encoding="utf-8")
    (folder / "index.md").write_text(_front(chosen, assignments), encoding="utf-8")
    (folder / ALTS).write_text(json.dumps(alts), encoding="utf-8")
    _mend_links(folder)


def number(week: Path) -> int:
    """A week's number: 3 for week03_data_parallel."""
    return int(week.name[4:6])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _week(week: Path, folder: Path, alts: dict[str, dict[str, str]]) -> None:
    """The week's README as its first page, and its notebooks."""
    folder.mkdir()
    notebooks = _in_order(week)
    for path in notebooks:
        _notebook(path, folder / path.name, alts, f"{week.name}/{path.stem}")
    head, _, rest = _text(week / "README.md").partition(BEGIN)
    head = head.replace("\n## ", f"\n{_simulators(number(week))}## ", 1)
    table = f"[The claims of this week](../claims.md#week-{number(week)}), and what every machine measured.\n"
    (folder / "index.md").write_text(
        f"{head}{table}{rest.partition(END)[2]}\n{_tree(path.stem for path in notebooks)}", encoding="utf-8"
    )
    for path in [*week.glob("results/*.md"), *week.glob("results/*.png")]:
        (folder / "results").mkdir(exist_ok=True)
        page = _text(path) if path.suffix == ".md" else None
        if page is None:
            shutil.copy(path, folder / "results" / path.name)
        else:
            (folder / "results" / path.name).write_text(f"---\norphan: true\n---\n\n{page}", encoding="utf-8")


def _simulators(week: int) -> str:
    """A paragraph that leads to a week's simulators; nothing where it has none."""
    listed = _text(HERE / "simulators" / "index.md")
    found = re.findall(rf"^- \[(.+)\]\((.+)\): .*\(week {week}\)$", listed, re.MULTILINE)
    links = ", ".join(f"[{title}](../simulators/{page})" for title, page in found)
    return f"Simulators with sliders: {links}.\n\n" if found else ""


def _in_order(week: Path) -> list[Path]:
    """The week's notebooks in the order of its README's first table."""
    readme = _text(week / "README.md")
    return sorted(
        week.glob("*.ipynb"), key=lambda path: (readme.find(f"({path.name})") % len(readme), path.name)
    )


def _tree(pages) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *pages, "```", ""])


def _notebook(path: Path, target: Path, alts: dict[str, dict[str, str]], page: str) -> None:
    """Copy a notebook, keep what its pictures show, and drop what only this build would trip over."""
    notebook = nbformat.read(path, as_version=4)
    alts[page] = found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png is not None:
                alt = output["metadata"].get("image/png", {}).get("alt", "")
                found[hashlib.sha256(b64decode(png)).hexdigest()] = alt
            # Of a progress bar only the text is kept: its widget needs a kernel, or scripts from elsewhere.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, target)


def released(folder: Path) -> Path:
    """Copy the course to `folder`, release every assignment in it, and return it.

    `grader release` refuses what would give away a solution or a hidden check, and raises CourseError.
    """
    shutil.copytree(
        ROOT / "assignments", folder, ignore=shutil.ignore_patterns("__pycache__", ".grader", "gradebook.db")
    )
    for name in Course.load(folder).assignments:
        release(folder, name, say=lambda line: None)
    return folder


def _homework(course: Path, folder: Path, alts: dict[str, dict[str, str]]) -> list[Assignment]:
    assignments = list(Course.load(course).assignments.values())
    for assignment in assignments:
        made, there = course / "release" / assignment.name, folder / assignment.name
        there.mkdir(parents=True)
        rows = []
        for number, part in assignment.parts.items():
            page = there / f"{part.notebook}.ipynb"
            _notebook(made / page.name, page, alts, f"homework/{assignment.name}/{part.notebook}")
            _add_files(page, made, [*part.files])
            extra = sum(part.items[item] for item in part.extras)
            points = sum(part.items.values()) + sum(part.reports.values()) - extra
            more = f", and {extra:g} extra" if extra else ""
            rows.append(f"| {number} | [{part.title}]({page.name}) | {points:g}{more} |")
        deadline = f", until {assignment.deadline:%-d %B %Y, %H:%M} UTC" if assignment.deadline else ""
        lines = [
            f"# {assignment.title}",
            "",
            f"`{assignment.name}`: {100 * assignment.weight:g} % of the final grade{deadline}.",
            f"In the folder of the repository, `.venv/bin/grader start {assignment.name}` makes your own copy, and",
            f"`.venv/bin/grader check --in {assignment.name}` runs the public checks.",
            "The pages show the statements and the files as you get them.",
            "[Progress](../../progress.md) shows how far you are.",
            "",
            "| part | title | points |",
            "|---|---|---|",
            *rows,
            "",
            _tree(part.notebook for part in assignment.parts.values()),
        ]
        (there / "index.md").write_text("\n".join(lines), encoding="utf-8")
    return assignments


def _add_files(page: Path, made: Path, names: list[str]) -> None:
    """Show the files that students complete under the statement, folded, as they get them."""
    notebook = nbformat.read(page, as_version=4)
    text = ["## The files that you complete", ""]
    for name in names:
        language = {"py": "python", "proto": "protobuf"}.get(name.rpartition(".")[2], "text")
        text += [f"<details><summary><code>{name}</code></summary>", "", f"````{language}"]
        text += [_text(made / name).rstrip(), "````", "", "</details>", ""]
    notebook.cells.append(nbformat.v4.new_markdown_cell("\n".join(text)))
    nbformat.write(notebook, page)


def _progress(assignments: list[Assignment]) -> str:
    """The page that draws a learner's progress file, with the pages to which it may link: "" is the assignment's."""
    pages = {
        one.name: {"": f"homework/{one.name}/index.html"}
        | {str(n): f"homework/{one.name}/{part.notebook}.html" for n, part in one.parts.items()}
        for one in assignments
    }
    listed = [f"- [`{one.name}`](homework/{one.name}/index.md): {one.title}" for one in assignments]
    text = _text(HERE / "pages" / "progress.md").replace("HOMEWORK", "\n".join(listed))
    # Inside a script element only this sequence could end it.
    return text.replace("PAGES", json.dumps(pages).replace("</", "<\\/"))


def _front(weeks: list[Path], assignments: list[Assignment]) -> str:
    """The first page: what the course is, and the syllabus of the repository's README."""
    readme = _text(ROOT / "README.md")
    intro = readme.partition("\n```")[0].replace("TOPICS.md", "topics.md").replace("[topics.md]", "[Topics]")
    syllabus = readme.partition("## Syllabus")[2].partition("\n## ")[0]
    # The last column of the weeks says which are ready; a reader of the site sees it.
    lines = [
        "|".join([*line.split("|")[:4], ""]) if line.count("|") == 5 else line
        for line in syllabus.splitlines()
    ]
    syllabus = "\n".join(lines).replace(" (ready)", "")
    syllabus = re.sub(r"`(hw\d_\w+)`", r"[`\1`](homework/\1/index.md)", syllabus)
    trees = [
        _captioned("The weeks", [f"{week.name}/index" for week in weeks]),
        _captioned("Homework", [f"homework/{one.name}/index" for one in assignments]),
        _captioned("All of it", ["claims", *["progress"] * bool(assignments), "simulators/index", "topics"]),
    ]
    told = _text(HERE / "pages" / "front.md")
    if assignments:  # a site of one week has no homework
        told += "[Progress](progress.md) shows how far you are with the homework, from a file of yours.\n\n"
    return "\n".join([intro, "", told, "## Syllabus", syllabus, *trees])


def _captioned(caption: str, pages: list[str]) -> str:
    return _tree(pages).replace(":hidden:", f":hidden:\n:caption: {caption}") if pages else ""


def _mend_links(folder: Path) -> None:
    """Let every link lead to a page of the site; one to a file that has no page becomes plain words."""
    for page in sorted(folder.rglob("*")):
        if page.suffix == ".md":
            text = page.read_text(encoding="utf-8")
            page.write_text(_mended(text, page, folder), encoding="utf-8")
        elif page.suffix == ".ipynb":
            notebook = nbformat.read(page, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = _mended(cell.source, page, folder)
            nbformat.write(notebook, page)


def _mended(text: str, page: Path, folder: Path) -> str:
    def mend(match: re.Match) -> str:
        words, target = match.groups()
        if ELSEWHERE.match(target):
            return match[0]
        path, _, anchor = target.partition("#")
        found = Path(os.path.normpath(page.parent / path))
        # A notebook's source, a week's folder: the page of it.
        places = [found, found.with_suffix(".ipynb"), found / "index.md"]
        for place in places:
            if place.is_file():
                there = os.path.relpath(place, page.parent)
                return f"[{words}]({there}{'#' + anchor if anchor else ''})"
        return words

    pieces, at = [], 0
    for fence in FENCE.finditer(text):
        pieces += [LINK.sub(mend, text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*pieces, LINK.sub(mend, text[at:])])
