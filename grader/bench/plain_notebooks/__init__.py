"""Small plain nbgrader notebooks in the manner of university courses, with wrong answers: for measuring and testing.

Each `.md` file here is a notebook. A fence "```python" opens a free cell; with `solution="id"` a solution cell, with
`locked="id"` an instructor's cell, with `test="id"` (and `points="2"`, `tags="..."`) a test. `wrong="id"` is no
cell but a wrong answer for the solution cell of that name; any other word in its place is another kind of submission,
and `word=""` a cell of the student's own in it. `data="file"` is Python that writes a file beside the notebook.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from grader.lean import nbformat
from grader.notebooks.template import Template

_FENCE = re.compile(r"^```python([^\n]*)\n(.*?)^```$", re.S | re.M)
_OPTION = re.compile(r'(\w+)="([^"]*)"')
_SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION\n?", re.S | re.M)
_MARK = re.compile(r"^ *### (?:BEGIN|END) SOLUTION(?:\n|\Z)", re.M)
_KINDS = "solution", "locked", "test"
_OF_CELLS = "points", "tags"


@dataclass
class Plain:
    """One notebook: as the instructor wrote it, and what students answer."""

    name: str
    source: nbformat.NotebookNode
    # By the kind of submission, then by the id of the cell; "" is a cell of the student's own.
    variants: dict[str, dict[str, str]] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)  # Python that writes this file into its working folder

    @property
    def wrong(self) -> dict[str, str]:
        return self.variants.get("wrong", {})

    def answers(self, kind: str) -> dict[str, str]:
        """Return the texts of the solution cells, by id, of a submission that is right, empty or of another kind.

        Raises KeyError where this notebook has no such kind.
        """
        if kind == "empty":
            return {}
        right = {
            cell.metadata.nbgrader.grade_id: _MARK.sub("", cell.source).rstrip()
            for cell in self.source.cells
            if cell.metadata.get("nbgrader", {}).get("solution")
        }
        return right if kind == "right" else right | self.variants[kind]

    def template(self) -> Template:
        """Return what grading would read from the gradebook after nbgrader has released the notebook."""
        cells = []
        for cell in self.source.cells:
            if cell.metadata.get("nbgrader"):
                cells.append(nbformat.from_dict({**cell}))
                if cell.metadata.nbgrader.solution:
                    cells[-1].source = _SOLUTION.sub(
                        r"\1# YOUR CODE HERE\n\1raise NotImplementedError()\n", cell.source
                    )
        return Template(self.name, cells, {}, judges_files=False)

    def answered(self, answers: dict[str, str]) -> nbformat.NotebookNode:
        """Return the instructor's notebook with these texts in the solution cells of these ids."""
        notebook = nbformat.from_dict(self.source)
        for cell in notebook.cells:
            if (identity := cell.metadata.get("nbgrader", {}).get("grade_id")) in answers:
                cell.source = answers[identity]
        return notebook

    def empty(self) -> nbformat.NotebookNode:
        """Return the notebook of a student who has answered nothing."""
        solutions = (cell for cell in self.template().cells if cell.metadata.nbgrader.solution)
        return self.answered({cell.metadata.nbgrader.grade_id: cell.source for cell in solutions})


def load(name: str, folder: Path = Path(__file__).parent) -> Plain:
    """Return the notebook `name` of a folder, this one when none is given."""
    return parse(name, (folder / f"{name}.md").read_text(encoding="utf-8"))


def names(folder: Path = Path(__file__).parent) -> list[str]:
    """Return the names of all notebooks of a folder, this one when none is given."""
    return sorted(path.stem for path in folder.glob("*.md"))


def parse(name: str, text: str) -> Plain:
    """Return the notebook that `text` describes."""
    plain = Plain(name, notebook := nbformat.v4.new_notebook())
    for head, body in _FENCE.findall(text):
        options = dict(_OPTION.findall(head))
        kind = next((word for word in _KINDS if word in options), None)
        if kind is None and (other := next((word for word in options if word not in _OF_CELLS), None)):
            into = plain.data if other == "data" else plain.variants.setdefault(other, {})
            into[options[other]] = body.rstrip()
            continue
        cell = nbformat.v4.new_code_cell(body.rstrip(), id=f"cell-{len(notebook.cells)}")
        if kind:
            cell.metadata["nbgrader"] = {
                "schema_version": 3,
                "grade": kind == "test",
                "solution": kind == "solution",
                "locked": kind != "solution",
                "task": False,
                "grade_id": options[kind],
                "cell_type": "code",
            }
        if kind == "test":
            cell.metadata.nbgrader["points"] = float(options.get("points", 1))
        if "tags" in options:
            cell.metadata["tags"] = options["tags"].split()
        notebook.cells.append(cell)
    return plain
