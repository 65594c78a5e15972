"""The exercises that a notebook prints, for the tests that run their solutions.

An exercise is a section `### A. Title (easy, 10 minutes)`. One with a check has a cell with a function that raises
NotImplementedError and a call of `check_exercise`; its solution stands in a fence of tildes below
`<summary>Solution</summary>`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effdl import notebook

_HEADING = re.compile(r"^### (?=[A-Z]\. )", re.MULTILINE)
_LABEL = re.compile(r"[A-Z]\. .+ \((?:easy|medium|open), \d+ minutes\)")
_STUB = re.compile(r"(?:async )?def \w+\([^\n]*\):\n    raise NotImplementedError\n")


@dataclass(frozen=True)
class Exercise:
    """An exercise: its heading, the cell with start and check ("" without one), the code of its solution (or "")."""

    title: str
    cell: str
    solution: str

    def verdict(self, names: Mapping[str, Any], solved: bool) -> bool:
        """What the exercise's own check says of its start, or of its printed solution.

        Args:
            names: what the code finds in the notebook: {"np": numpy, ...}.

        Raises ValueError if the cell does not call `check_exercise` exactly once.
        """
        verdicts = []

        def check(*arguments, **options):
            verdicts.append(notebook.check_exercise(*arguments, **options))

        code = _STUB.sub(lambda _: self.solution, self.cell) if solved else self.cell
        exec(code, {**names, "check_exercise": check})
        if len(verdicts) != 1:
            raise ValueError(
                f"{self.title}: the cell calls check_exercise {len(verdicts)} times; once is right"
            )
        return bool(verdicts[0])


def exercises(source: Path) -> list[Exercise]:
    """All exercises of a notebook source, in order.

    Raises ValueError for one whose heading has no difficulty and minutes, or that has not one hint and one solution.
    """
    found = []
    for part in _HEADING.split(source.read_text(encoding="utf-8"))[1:]:
        title = part.splitlines()[0]
        if not _LABEL.fullmatch(title):
            raise ValueError(
                f'{source}, "{title}": end the heading with a difficulty, as in (easy, 10 minutes)'
            )
        if not part.count("<summary>Hint</summary>") == part.count("<summary>Solution</summary>") == 1:
            raise ValueError(f'{source}, "{title}": give the exercise one hint and one solution')
        cells = [cell for cell in re.findall(r"```python\n(.*?)```", part, re.DOTALL) if _STUB.search(cell)]
        code = re.findall(r"~~~python\n(.*?)~~~", part.partition("<summary>Solution</summary>")[2], re.DOTALL)
        found.append(Exercise(title, "".join(cells[:1]), "".join(code[:1])))
    return found
