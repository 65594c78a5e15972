"""Small plain nbgrader notebooks in the manner of university courses, with wrong answers: for measuring and testing.

Each `.md` file here is a notebook. A fence "```python" opens a free cell; with `solution="id"` a solution cell, with
`locked="id"` an instructor's cell, with `test="id"` (and `points="2"`, `tags="..."`) a test. `wrong="id"` is no
cell but a wrong answer for the solution cell of that name.
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


@dataclass
class Plain:
    """One notebook: as the instructor wrote it, and wrong answers by the id of the cell."""

    name: str
    source: nbformat.NotebookNode
    wrong: dict[str, str] = field(default_factory=dict)

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


def load(name: str) -> Plain:
    """Return the notebook `name` of this folder."""
    return parse(name, (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8"))


def names() -> list[str]:
    """Return the names of all notebooks here."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.md"))


def parse(name: str, text: str) -> Plain:
    """Return the notebook that `text` describes."""
    notebook, wrong = nbformat.v4.new_notebook(), {}
    for head, body in _FENCE.findall(text):
        options = dict(_OPTION.findall(head))
        if "wrong" in options:
            wrong[options["wrong"]] = body.rstrip()
            continue
        cell = nbformat.v4.new_code_cell(body.rstrip(), id=f"cell-{len(notebook.cells)}")
        kind = next((word for word in ("solution", "locked", "test") if word in options), None)
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
    return Plain(name, notebook, wrong)
