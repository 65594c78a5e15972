"""REFERENCE.md has every name that authors import, as its docstring says; run as a program, this file writes it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from grader import checks

PAGE = Path(__file__).parents[1] / "REFERENCE.md"
BEGIN, END = "<!-- names -->\n", "<!-- end of names -->"


def documented() -> Iterator[tuple[str, object]]:
    """Yield every public name of `grader.checks`, and the public methods of its classes that are no exceptions."""
    for name in sorted(checks.__all__, key=str.lower):
        value = getattr(checks, name)
        yield name, value
        if inspect.isclass(value) and not issubclass(value, Exception):
            for inner, method in vars(value).items():
                if not inner.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                    yield f"{name}.{inner}", method


def first_sentence(value: object) -> str:
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return text.replace("|", "\\|")


def table() -> str:
    lines = ["| name | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {first_sentence(value)} |" for name, value in documented()]
    return "\n".join(lines) + "\n"


def test_a_public_name_without_a_docstring_leaves_authors_guessing():
    assert [name for name, value in documented() if not first_sentence(value)] == []


def test_the_reference_says_what_the_docstrings_say():
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == table(), f"run python {__file__}"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + table() + END, page, flags=re.S), encoding="utf-8"
    )
