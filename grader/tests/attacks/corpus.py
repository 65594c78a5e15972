"""The hostile corpus: what an attack is, how it is read, and what came of it.

An attack is one Python file. Its docstring says what it tries and what must happen; constants above the first
function say the rest. They are read with `ast`: loading the corpus runs nothing.

    '''Replaces torch.allclose, so that every comparison says yes.

    Must: earn nothing; the examiner compares in its own process.
    '''
    FAMILY = "verdict"

Its folder says who runs it: `parts/` hold modules that answer the checks of a small part, `notebooks/` the
solution cells of a plain nbgrader notebook, `files/` functions that write a submission's folder, `steps/` what is
aimed at the steps around the sandbox.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FAMILIES = ("verdict", "clock", "secrets", "harm", "accident", "steps", "service", "suites")
KINDS = ("parts", "notebooks", "files", "steps")


@dataclass(frozen=True)
class Attack:
    """One file of the corpus."""

    path: Path
    kind: str  # one of KINDS
    family: str  # one of FAMILIES
    tries: str  # one sentence
    must: str  # what must happen
    options: dict[str, Any] = field(default_factory=dict)  # the other constants of the file

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def fast(self) -> bool:
        """Whether `make test` runs it."""
        return self.options.get("FAST", False)


@dataclass(frozen=True)
class Outcome:
    """What one attack came to under one grader."""

    attack: Attack
    earned: float  # points that it got
    deserved: float  # points that its honest work is worth
    leaked: list[str] = field(default_factory=list)  # what it got hold of, or got out
    harm: list[str] = field(
        default_factory=list
    )  # what it did to other students, to the grader or the machine
    told: str = ""  # what the student reads
    noted: list[str] = field(default_factory=list)  # what the instructor reads

    @property
    def held(self) -> bool:
        """True where it gained nothing, learnt nothing, harmed nobody, and lost nothing that it deserved."""
        return self.earned == self.deserved and not self.leaked and not self.harm


def load(kind: str | None = None) -> list[Attack]:
    """Return the attacks of one kind, or all; raises ValueError where a file's head is not as it should be."""
    return [
        _read(path, folder)
        for folder in (KINDS if kind is None else (kind,))
        for path in sorted((HERE / folder).glob("*.py"))
        if path.name != "__init__.py"
    ]


def _read(path: Path, kind: str) -> Attack:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    text = ast.get_docstring(tree) or ""
    tries, _, must = (" ".join(piece.split()) for piece in text.partition("Must:"))
    if not tries or not must:
        raise ValueError(f"{path}: its docstring must say what it tries and, after 'Must:', what must happen")
    options = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.isupper() and isinstance(node.value, ast.Constant | ast.List | ast.Tuple | ast.Dict):
                try:
                    options[name] = ast.literal_eval(node.value)
                except ValueError:
                    continue  # an expression is the attack's own business
    family = options.pop("FAMILY", None)
    if family not in FAMILIES:
        raise ValueError(f"{path}: FAMILY is {family!r}; it must be one of {', '.join(FAMILIES)}")
    return Attack(path, kind, family, tries, must, options)
