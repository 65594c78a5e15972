"""What a grader of plain notebooks may be slow at, a notebook each: for `grader.bench.against_nbgrader`.

The `.md` files are in the format of `grader.bench.plain_notebooks`; the first lines of each say what it stands for.
Every solution cell has a wrong answer, which its tests must find.
"""

from pathlib import Path

from grader.bench import plain_notebooks
from grader.bench.plain_notebooks import Plain

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all notebooks here."""
    return plain_notebooks.names(_HERE)


def load(name: str) -> Plain:
    """Return the notebook `name` of this folder."""
    return plain_notebooks.load(name, _HERE)
