"""What `[slurm]` in `course.toml` says: how the course asks a Slurm cluster for compute nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from grader.course_file import Table

# What we say ourselves. A second one would win over ours, and tasks would overwrite each other's files or be
# started again under a key that is used up.
_OURS = (
    *("--array", "-a", "--requeue", "--no-requeue", "--export", "--export-file", "--output", "-o", "--error"),
    *("-e", "--job-name", "-J", "--parsable", "--wait", "-W", "--wrap", "--chdir", "-D", "--ntasks", "-n"),
    *("--mem", "--mem-per-cpu", "--time", "-t", "--cpus-per-task", "-c", "--gres", "--partition", "-p"),
    *("--account", "-A", "--get-user-env", "--nodes", "-N"),
)


@dataclass(frozen=True)
class Slurm:
    """How a course uses a Slurm cluster. The empty string and 0 leave a choice to the cluster, or to us."""

    partition: str = ""
    account: str = ""
    minutes: int = 60  # that a task may take
    at_once: int = 20  # tasks that run at the same time
    cpus: int = 2  # of a task: one for the submission, one for the examiner that measures it
    memory: int = 0  # bytes of a task; 0 for what the parts say, and what the examiner needs
    ask_every: int = 10  # seconds between two questions to the controller
    options: tuple[str, ...] = ()  # for sbatch, as written
    launch: tuple[str, ...] = ()  # words before the task's command on the node


def read(table: Table, size: dict[str, int]) -> Slurm:
    """Return the settings of the table `[slurm]`; `size` holds what was parsed of its sizes, in bytes.

    Raises Wrong for what is out of range, unknown, or ours to say.
    """
    known = Slurm()
    table.only(*(name for name in vars(known)))
    options = table.texts("options")
    for option in options:
        name = re.split(r"[=\s]", option, maxsplit=1)[0]
        if not name.startswith("-"):
            raise table.wrong(
                "options", f'{option!r} is no option; write one a text, such as "--qos=teaching"'
            )
        # sbatch takes a beginning of a long name for the name, and a value right behind a short one.
        if any(ours.startswith(name) if name.startswith("--") else ours == name[:2] for ours in _OURS):
            raise table.wrong("options", f"{name} is said by the grader itself, or has a key of its own")
    found = Slurm(
        partition=table.text("partition", ""),
        account=table.text("account", ""),
        minutes=table.whole("minutes", known.minutes),
        at_once=table.whole("at_once", known.at_once),
        cpus=table.whole("cpus", known.cpus),
        memory=size.get("memory", 0),
        ask_every=table.whole("ask_every", known.ask_every),
        options=options,
        launch=table.texts("launch"),
    )
    for key in ("minutes", "at_once", "cpus", "ask_every"):
        if getattr(found, key) < 1:
            raise table.wrong(key, "it must be 1 at least")
    return found
