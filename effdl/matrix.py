"""Other machines, on this one: ``make matrix``, or ``python -m effdl.matrix [ROW ...]``.

The two commands of the README must pass on a machine that nobody has seen. Each row of the matrix changes what a
machine can change: the instruction sets of PyTorch's own kernels, those of the libraries behind it, the number of
cores, what else runs, and PyTorch's version. In each row all notebooks run in strict mode, and then all tests; as in
`make test`, what fails is asked once more.
Logs go to ``.cache/matrix/ROW-notebooks.log`` and ``ROW-tests.log``.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from effdl.quiet import cores, spinning

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache" / "matrix"
OLD_TORCH = ROOT / ".venv-torch211"
"""Made by `make .venv-torch211/installed`."""
PIN = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Row:
    """One stand-in for another machine."""

    environment: dict[str, str] = field(default_factory=dict)
    cores: int = 0
    """At most so many cores; 0 for all."""
    spinning: bool = False
    """Whether one program for each core runs beside and never rests."""
    python: Path = Path(sys.executable)

    def run(self, arguments: list[str], log: Path) -> int:
        """Run this Python with the arguments in the repository's root, and add to the log; return its exit status."""
        environment = os.environ | {"PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"}
        command = [str(self.python), *arguments]
        if self.cores:
            command = [sys.executable, "-c", PIN, str(self.cores), *command]
        with spinning(cores() if self.spinning else 0), log.open("a", encoding="utf-8") as file:
            return subprocess.run(
                command, cwd=ROOT, env=environment | self.environment, stdout=file, stderr=subprocess.STDOUT
            ).returncode


ROWS = {
    "as-it-is": Row(),
    "aten-default": Row({"ATEN_CPU_CAPABILITY": "default"}),
    "aten-avx2": Row({"ATEN_CPU_CAPABILITY": "avx2"}),
    "old-libraries": Row(
        {
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "OPENBLAS_CORETYPE": "Nehalem",
        }
    ),
    "one-core": Row(cores=1),
    "busy": Row(spinning=True),
    "torch-2.11": Row(python=OLD_TORCH / "bin" / "python"),
}
PYTEST = ["-m", "pytest"]
STEPS = {
    "notebooks": [["-m", "effdl.build", "--run", "--all", "--again"]],
    "tests": [
        [*PYTEST, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not alone"],
        [*PYTEST, "-m", "alone"],
    ],
}
"""The commands of `make test`, but for every test of every family."""
AGAIN = {"tests": [*PYTEST, "--last-failed", "--last-failed-no-failures", "none"]}


def passes(row: Row, step: str, log: Path) -> bool:
    """Run the commands of a step, and what failed in one of them once more."""
    log.unlink(missing_ok=True)
    failures = 0
    for command in STEPS[step]:
        status = row.run(command, log)
        if status and step in AGAIN:
            status = row.run(AGAIN[step], log)
        failures += status != 0
    return not failures


def summary(step: str, text: str) -> str:
    """What a log says in a few words: notebooks that ran and claims that were listed, or pytest's last lines."""
    if step == "tests":
        found = re.findall(r"^\d+ (?:passed|failed|skipped|error).* in [\d.]+s.*$", text, re.MULTILINE)
        return "; ".join(found) if found else "no result of pytest"
    listed = sum(int(count) for count in re.findall(r"^(\d+) claims? do(?:es)? not hold", text, re.MULTILINE))
    again = text.count("runs once more")
    return (
        f"{len(re.findall(r'^ran ', text, re.MULTILINE))} ran, {again} of them twice; {listed} claims listed"
    )


def main(
    rows: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(ROWS)}; all if none")] = None,
    step: Annotated[list[str] | None, typer.Option(help="notebooks, tests or both")] = None,
) -> None:
    """Run all notebooks and all tests in each row of the matrix; say which rows pass."""
    chosen, steps = rows or list(ROWS), step or list(STEPS)
    for name, known in [*((row, ROWS) for row in chosen), *((one, STEPS) for one in steps)]:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    if "torch-2.11" in chosen and not ROWS["torch-2.11"].python.exists():
        raise typer.BadParameter(
            f"{OLD_TORCH.name} does not exist; run `make {OLD_TORCH.name}/installed` first"
        )
    LOGS.mkdir(parents=True, exist_ok=True)
    console, failures = Console(), 0
    table = Table("row", "step", "", "minutes", "found")
    for name in chosen:
        for one in steps:
            log, begin = LOGS / f"{name}-{one}.log", time.monotonic()
            with console.status(f"{name}, {one}: {log.relative_to(ROOT)}"):
                good = passes(ROWS[name], one, log)
            failures += not good
            found = summary(one, log.read_text(encoding="utf-8", errors="replace"))
            minutes = f"{(time.monotonic() - begin) / 60:.1f}"
            verdict = "passes" if good else "fails"
            table.add_row(name, one, verdict, minutes, found)
            console.print(f"{name}, {one}: {verdict} in {minutes} min; {found}")
    console.print(table)
    raise typer.Exit(1 if failures else 0)


if __name__ == "__main__":
    typer.run(main)
