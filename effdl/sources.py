"""The sources of notebooks: which there are, the notebook of each, and the rules that each must follow."""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from effdl.fences import from_markdown, problems_of

ROOT = Path(__file__).resolve().parent.parent
LONGEST_CELL = 25
MOST_CLAIMS, LEAST_MEASURED = 15, 2 / 3
"""Of a lecture: what does not fit becomes a second lecture; what cannot fail on reality is a test."""
INTERNAL = re.compile(r"\b(TODO|FIXME|XXX|[Tt]ake this out|For [LS]\d)\b")
NO_SENTENCE = re.compile(r", over |\((the )?(largest|smallest|worst)\b|\([01]: ")
"""What a heading of a number says, and no teacher: `Peak memory, over that without`, `(1: yes)`."""
VERB = re.compile(
    r"\b(?:"
    r"add|agree|allocate|are|ask|beat|become|begin|break|came|can|cannot|change|come|compute|cost|"
    r"deadlock|depend|differ|disappear|divide|do|double|draw|end|equal|err|exceed|explain|fail|"
    r"fall|fill|find|fit|follow|gain|get|give|go|grow|halve|has|have|help|hide|hold|is|keep|"
    r"lead|leave|lie|lose|lower|make|matter|miss|move|must|name|need|overlap|overtake|pass|"
    r"pay|predict|push|raise|reach|read|recover|repeat|request|reserve|return|rise|run|save|"
    r"send|serve|share|show|shrink|slow|spread|start|stay|stop|sum|take|train|use|wait|"
    r"was|were|win|work|write"
    r")(?:e?s)?\b"
)
"""Finite verbs that claims use. Add yours: the list is to find headings that are no sentence, and only that."""
DISPLAYED = {
    "claim",
    "claims",
    "not_here",
    "caption",
    "plt",
    "fig",
    "figure",
    "ax",
    "axes",
    "figures",
    "plots",
}
"""What a statement calls that only shows: verdicts, captions, figures."""


class BuildError(Exception):
    """A notebook cannot be built; the message names the notebook, the cell and the remedy."""


def sources(paths: list[Path]) -> list[Path]:
    """Notebook sources among files and folders; without paths, those of all week folders.

    A source is any Markdown file of a week folder but README.md; a built notebook stands for its source.
    Raises BuildError for a path that is neither a folder nor a notebook with a source.
    """
    found: list[Path] = []
    for path in paths or sorted(ROOT.glob("week[0-9][0-9]_*")):
        if path.is_dir():
            found += sorted(file for file in path.glob("*.md") if file.name != "README.md")
        elif path.suffix in (".md", ".ipynb") and path.with_suffix(".md").is_file():
            found.append(path.with_suffix(".md"))
        else:
            raise BuildError(
                f"{path} is neither a folder nor a notebook source; give week01_intro/lecture.md"
            )
    return found


def short_name(source: Path) -> str:
    """The name of a source for messages: week01_intro/lecture.md."""
    return f"{source.resolve().parent.name}/{source.name}"


def source_hash(source: Path) -> str:
    """SHA-256 of the text, as the notebook's metadata carries it."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def is_stale(source: Path) -> bool:
    """True if the notebook is missing or was built from another text."""
    built = source.with_suffix(".ipynb")
    if not built.exists():
        return True
    metadata = json.loads(built.read_text(encoding="utf-8")).get("metadata", {})
    return metadata.get("effdl", {}).get("source_sha256") != source_hash(source)


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text, without outputs, with ids and metadata that depend on the text alone.

    Cells that only show verdicts and figures are collapsed: in Jupyter, and on pages that know the tag hide-input.
    """
    notebook = from_markdown(source.read_text(encoding="utf-8"))
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        # An id made of the cell's own text: a change in one cell leaves the ids of all others alone.
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        cell.metadata.pop("lines_to_next_cell", None)  # what jupytext notes about blank lines
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        if cell.cell_type == "code" and not cell.metadata and only_shows(cell.source):
            cell.metadata.update({"jupyter": {"source_hidden": True}, "tags": ["hide-input"]})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "effdl": {"source_sha256": source_hash(source)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def only_shows(code: str) -> bool:
    """Whether all statements of a cell only show something: claims, captions, the drawing of a figure."""

    def called(node: ast.expr) -> str:
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
            node = node.func if isinstance(node, ast.Call) else node.value
        return node.id if isinstance(node, ast.Name) else ""

    def shows(node: ast.stmt) -> bool:
        if isinstance(node, ast.If | ast.For | ast.With):
            return all(map(shows, [*node.body, *getattr(node, "orelse", [])]))
        return isinstance(node, ast.Expr | ast.Assign) and called(node.value) in DISPLAYED

    try:
        statements = ast.parse(code).body
    except SyntaxError:
        return False  # lint says so
    return bool(statements) and all(map(shows, statements))


@dataclass(frozen=True)
class StatedClaim:
    """A call of claim() in a source, as far as it is written out, with `*` where code fills in."""

    text: str
    key: str
    kind: str

    def named(self, key: str) -> bool:
        """Whether this call can have this key."""
        return bool(re.fullmatch(re.escape(self.key).replace(r"\*", ".*"), key))


def claims_of(source: Path) -> list[StatedClaim]:
    """The claims that a source makes, in order; one in a loop counts once. Cells that are not Python make none."""
    found = []
    for cell in read(source).cells:
        if cell.cell_type == "code":
            try:
                calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
            except SyntaxError:
                continue  # lint says so
            found += [_stated(call) for call in calls if _calls(call, "claim")]
    return found


def is_sentence(text: str) -> bool:
    """Whether a claim's text reads as a sentence: by a list of verbs, and by what headings of numbers look like."""
    return "*" in text or bool(VERB.search(text) and not NO_SENTENCE.search(text))


def _calls(call: ast.Call, name: str) -> bool:
    return getattr(call.func, "id", getattr(call.func, "attr", "")) == name


def _stated(call: ast.Call) -> StatedClaim:
    def written(node: ast.expr | None) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        return str(node.value) if isinstance(node, ast.Constant) else "*"

    words = {word.arg: word.value for word in call.keywords}
    text = call.args[0] if call.args else words.get("text")
    return StatedClaim(written(text), written(words.get("key")), written(words.get("kind")))


def lint(source: Path) -> list[str]:
    """What breaks the rules for notebooks in a source, one sentence each, naming file and cell."""
    text = source.read_text(encoding="utf-8")
    problems = [f"{short_name(source)}: {problem}" for problem in problems_of(text)]
    problems += _claim_problems(source)
    # Not read(): a cell's options are the author's here.
    for number, cell in enumerate(from_markdown(text).cells, start=1):
        found = _code_problems(cell) if cell.cell_type == "code" else _text_problems(cell.source)
        problems += [f"{short_name(source)}, {where(cell, number)}: {problem}" for problem in found]
    return problems


def _claim_problems(source: Path) -> Iterator[str]:
    claims = claims_of(source)
    for claim in claims:
        if "*" in (claim.key, claim.kind):
            what = "key" if claim.key == "*" else "kind"
            yield f"{short_name(source)}: the {what} of {claim.text!r} is not written in the call; the table needs it"
        if not is_sentence(claim.text):
            yield f"{short_name(source)}: {claim.text!r} has no verb or heads a number; say the claim as a sentence"
    if not source.stem.startswith("lecture"):
        return
    if len(claims) > MOST_CLAIMS:
        yield f"{short_name(source)}: {len(claims)} claims, at most {MOST_CLAIMS}; make tests of some, or split it"
    measured = sum(claim.kind == "measured" for claim in claims)
    if measured < LEAST_MEASURED * len(claims):
        yield (
            f"{short_name(source)}: {measured} of {len(claims)} claims are measured, at least two thirds must be; "
            "what has one possible outcome is a test"
        )


def where(cell: nbformat.NotebookNode, number: int) -> str:
    """A cell for messages: its number, from 1, and its first line."""
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first[:60]!r})"


def _code_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    cell.metadata.pop("lines_to_next_cell", None)  # what jupytext notes about blank lines
    if cell.metadata:
        yield f"cell options {dict(cell.metadata)}; write a plain ```python fence"
    length = len(cell.source.strip().splitlines())
    if length > LONGEST_CELL:
        yield f"{length} lines of code, at most {LONGEST_CELL}; move code to a module and show() it"
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        # Lines that Python cannot parse: a magic, a shell line, a fence in another language, or a mistake.
        line = (cell.source.splitlines() or [""])[(error.lineno or 1) - 1].strip()
        remedy = "no magics and no shell lines: effdl.run runs the cells as plain Python"
        yield f"line {line!r} is not Python ({error.msg}); {remedy}"
        return
    for node in tree.body[:-1]:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _calls(node.value, "Table"):
            yield f"line {node.lineno}: only the last value of a cell is shown, and this Table is not the last"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _calls(node, "caption"):
            values = node.args[2:3] + [word.value for word in node.keywords if word.arg == "alt"]
            if not values or (isinstance(values[0], ast.Constant) and not str(values[0].value).strip()):
                yield "caption() without alternative text; pass alt='what is drawn'"


def _text_problems(text: str) -> Iterator[str]:
    if note := INTERNAL.search(text):
        yield f"the page says {note[0]!r}, which is a note to its author; take it out"
    for image in re.findall(r"!\[\s*\]\([^)]*\)", text):
        yield f"image {image} without alternative text; write ![what is drawn](...)"
    for tag in re.findall(r"<img\b[^>]*>", text):
        if not re.search(r"\balt\s*=\s*(\"[^\"]+\"|'[^']+')", tag):
            yield f"image {tag} without alternative text; add alt='what is drawn'"
