"""Whether a verdict is luck.

    python -m grader.bench.repeats ASSIGNMENT [--times 20] [--kind wrong] [--only NAME] [--minutes N] [--json FILE]

Every wrong solution meets the check that must catch it, every right one all checks of its file's items, so many
times, each time with new inputs. None of the wrong may pass, and none of the right may fail. Undecided is counted
apart: a person looks then. Verdicts on speed need the processors, so nothing else should run.

All homework takes hours. What FILE holds already, of the same solution under the same checks, is not tried again, and
after `--minutes` no other solution is begun: so FILE, `results/repeats.jsonl` say, may grow over many days.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from grader.book.keys import check_digests, digest_of
from grader.course import Assignment, Course, CourseError, Part
from grader.examine.examiner import Examiner, checks_of
from grader.notebooks.wrong import wrong_solutions


@dataclass(frozen=True)
class Case:
    """A file that replaces the reference's, the checks that it meets, and the verdict that none of them may give."""

    name: str
    part: Part
    file: str
    text: str
    checks: tuple[str, ...]
    never: str

    @property
    def key(self) -> str:
        """A hash of what its verdicts follow from, the grader itself aside."""
        digests = check_digests(self.part)
        return digest_of(self.text, *(digests[name] for name in self.checks))[:16]


def cases(assignment: Assignment) -> Iterator[Case]:
    """The wrong solutions of an assignment, then the right ones."""
    owner = {file: part for part in assignment.parts.values() for file in part.files}
    for wrong in wrong_solutions(assignment.source / "wrong"):
        yield Case(wrong.name, owner[wrong.file], wrong.file, wrong.text, (wrong.caught_by,), "pass")
    for path in sorted((assignment.source / "right").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        replaced = re.findall(r"^# replaces: (.+)$", text, flags=re.MULTILINE)[0]
        part = owner[replaced]
        items = {item for item in part.items if part.modules[item] == replaced}
        names = tuple(check.name for check in checks_of(part) if check.item in items)
        yield Case(path.stem, part, replaced, text, names, "fail")


def verdicts(examiner: Examiner, case: Case, times: int) -> Counter[str]:
    """Return how often each verdict came, over all checks of the case."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in case.part.files:
            shutil.copy(case.part.source / name, Path(folder) / name)
        (Path(folder) / case.file).write_text(case.text, encoding="utf-8")
        for _ in range(times):
            report = examiner.examine(case.part, folder, names=case.checks)
            found.update(check.verdict for check in report.checks)
    return found


def _known(path: Path | None) -> dict[tuple[str, ...], Counter[str]]:
    """Return the verdicts that a file of `--json` holds, by what each line is about.

    Raises CourseError, which names the line, for one that this program has not written.
    """
    found: dict[tuple[str, ...], Counter[str]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            about = told["assignment"], told["name"], told["never"], told["key"]
            found.setdefault(about, Counter()).update(dict(told["verdicts"]))
        except (ValueError, KeyError, TypeError):
            raise CourseError(
                f"{path}, line {number}: {line[:60]!r} is no result of this program; delete the line, or name "
                "another file"
            ) from None
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assignment")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--kind", choices=["wrong", "right"])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which none is begun")
    parser.add_argument(
        "--json", type=Path, help="append a line for each case; those that it holds are left out"
    )
    options = parser.parse_args()
    if options.times < 1:
        parser.error(f"--times {options.times}: give a number of runs, 20 for example")
    try:
        assignment = Course.load(Path("assignments")).assignment(options.assignment)
        solutions, known = list(cases(assignment)), _known(options.json)
    except CourseError as error:
        parser.error(str(error))
    never = {"wrong": ("pass",), "right": ("fail",), None: ("pass", "fail")}[options.kind]
    chosen = [case for case in solutions if case.never in never and options.only in case.name]
    if not chosen:
        parser.error(
            f"{assignment.name} has no {options.kind or 'wrong or right'} solution with {options.only!r} in its name"
        )
    table, console = Table("solution", "must never", "verdicts"), Console()
    bad = tried = before = 0
    with Examiner() as examiner:
        end = time.monotonic() + 60 * options.minutes
        for case in track(chosen, "solutions", console=Console(stderr=True)):
            about = {"assignment": assignment.name, "name": case.name, "never": case.never, "key": case.key}
            if (earlier := known.get(tuple(about.values()))) and sum(earlier.values()) >= options.times:
                found, before = earlier, before + 1
            elif time.monotonic() < end:
                found, tried = verdicts(examiner, case, options.times), tried + 1
                if options.json:
                    with options.json.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({**about, "verdicts": found}) + "\n")
            else:
                continue
            wanted = "fail" if case.never == "pass" else "pass"
            bad += found[case.never] > 0
            if set(found) != {wanted}:
                table.add_row(case.name, case.never, ", ".join(f"{k} {n}" for k, n in found.most_common()))
    if table.rows:
        console.print(table)
    left = len(chosen) - tried - before
    console.print(
        f"{tried} solutions, {options.times} times each, {before} known, {left} left: "
        f"{bad} with a verdict that none may get."
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
