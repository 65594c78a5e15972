"""Tries the checks themselves before a release: each must pass the reference, and none of its stand-ins.

A check that nothing can fail gives its points to everybody, and nobody notices. What was found is kept beside the
gradebook under the key of the check, so that a second release tries only what has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from grader.book import records
from grader.book.keys import check_digests, digest_of, environment_digest
from grader.course import Assignment, Part
from grader.examine.checks import STAND_INS, Check, StudentError
from grader.examine.examiner import Examiner, checks_of
from grader.examine.job import Job
from grader.examine.report import CheckResult
from grader.examine.run import Run
from grader.examine.submission import Submission
from grader.notebooks import stand_ins
from grader.sandbox import wire
from grader.whole_files import write_whole

SEED, OTHER_SEEDS = 1, (2, 3, 4)  # small ranges may give the same numbers twice
ALWAYS = ("torch.", "numpy.")  # modules of these every worker has some of
MODULES = [kind for kind in STAND_INS if kind != "cached"]


class _Different(Exception):
    """The inputs follow the seed."""


class Asked:
    """What a check has asked: a hash of each target with its inputs, compared with those of an earlier run."""

    def __init__(self, earlier: Sequence[bytes] | None = None):
        self.digests: list[bytes] = []
        self.modules: dict[str, None] = {}  # that its workers imported
        self._earlier = earlier

    def note(self, target: str, *inputs: Any) -> None:
        """Add a question; raises where it differs from the one asked earlier in its place."""
        digest = hashlib.sha256(wire.encode({"target": target, "inputs": list(inputs)})).digest()
        number = len(self.digests)
        self.digests.append(digest)
        if self._earlier is not None and [digest] != list(self._earlier[number : number + 1]):
            raise _Different


class Watched(Submission):
    """A submission that notes what it is asked."""

    def __init__(self, asked: Asked, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._asked, self.asked = asked, asked.note

    def _measure(self, job: Job, *rest: Any) -> Run:
        run = super()._measure(job, *rest)
        with contextlib.suppress(StudentError):  # a worker that has ended has nothing more to tell
            job.send(0, {"modules": True}, self._deadline)
            self._asked.modules |= dict.fromkeys(self._answers(job, "modules", self._deadline, ranks=[0])[0])
        return run

    def call(self, target: str, *args: Any, wall: float | None = None, **kwargs: Any) -> Run:
        self._asked.note(target, list(args), kwargs)
        return super().call(target, *args, wall=wall, **kwargs)

    def ranks(self, target: str, *, world: int, **options: Any) -> Run:
        asked = {name: options.get(name) for name in ("per_rank", "args", "kwargs")}
        self._asked.note(
            target,
            world,
            {name: list(v) if v is not None and name != "kwargs" else v for name, v in asked.items()},
        )
        return super().ranks(target, world=world, **options)

    def compare(self, target: str, inputs: Callable[[], Sequence[Any]], **options: Any) -> None:
        def noted() -> Sequence[Any]:
            found = inputs()
            self._asked.note(target, list(found))
            return found

        super().compare(target, noted, **options)


def problems(
    root: Path, assignment: Assignment, examiner: Examiner, progress: Callable[[str, int], None]
) -> list[str]:
    """Return a sentence for each check of `assignment` that fails its reference, or passes a stand-in unsaid.

    `progress(name, all)` is called when a check has been tried. Raises CourseError for checks that cannot be
    loaded.
    """
    path = records.results_folder(root, assignment.name) / "trials.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    checks = [(part, check) for part in assignment.parts.values() for check in checks_of(part)]
    keys = {
        (part.number, name): digest_of(digest, environment_digest(), str(part.memory))
        for part in assignment.parts.values()
        for name, digest in check_digests(part).items()
    }
    lock = threading.Lock()

    def try_one(part: Part, check: Check) -> None:
        outcome = kept.get(keys[part.number, check.name])
        if outcome is None or outcome["reference"] is not None:
            outcome = trials[part.number].outcome(check)
        with lock:
            kept[keys[part.number, check.name]] = outcome
            write_whole(path, json.dumps(kept, indent=1))
            progress(check.name, len(checks))

    with tempfile.TemporaryDirectory(prefix="grader-trials-") as folder:
        trials = {part.number: Trial(examiner, part, Path(folder) / str(part.number)) for part, _ in checks}
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(lambda one: try_one(*one), checks))
        for part, check in checks:
            if kept[keys[part.number, check.name]]["reference"] is not None:
                try_one(part, check)  # alone: it may be about time
    current = {key: kept[key] for key in keys.values()}
    write_whole(path, json.dumps(current, indent=1))
    passed = [outcome for outcome in current.values() if outcome["reference"] is None]
    if all("modules" in outcome for outcome in passed):  # an earlier version has kept none
        imported = dict.fromkeys(name for outcome in passed for name in outcome["modules"])
        # Of the packages that every worker has anyway: the names of others could tell of the reference.
        found = examiner.place.zygote.safe([name for name in imported if name.startswith(ALWAYS)])
        records.keep_modules(root, assignment.name, found)
    return [
        sentence
        for part, check in checks
        for sentence in sentences(part, check, current[keys[part.number, check.name]])
    ]


class Trial:
    """The reference of one part and its stand-ins, in folders made when they are first needed."""

    def __init__(self, examiner: Examiner, part: Part, folder: Path):
        self._examiner, self._part, self._folder, self._lock = examiner, part, folder, threading.Lock()

    def outcome(self, check: Check) -> dict[str, Any]:
        """Return why the check does not pass the reference (None: it does), and the stand-ins that it passes."""
        asked = Asked()
        result = self._run(check, "reference", asked=asked)
        if result.verdict != "pass":
            return {"reference": f"{result.verdict}: {result.why}", "passes": []}
        passes = [
            kind
            for kind in MODULES
            # A pass of what was never met says nothing: it must not pass where meeting it is an error.
            if kind not in check.accepts
            and self._run(check, kind).verdict == "pass"
            and self._run(check, kind, refuse=True).verdict != "pass"
        ]
        if asked.digests and all(
            self._run(check, "reference", asked=Asked(asked.digests), seed=seed).verdict == "pass"
            for seed in OTHER_SEEDS
        ):
            passes.append("cached")
        return {"reference": None, "passes": passes, "modules": [*asked.modules]}

    def _run(
        self, check: Check, kind: str, *, refuse: bool = False, asked: Asked | None = None, seed: int = SEED
    ) -> CheckResult:
        folder = self._folder / f"{kind}{'-refuse' if refuse else ''}"
        with self._lock:
            if not folder.exists():
                stand_ins.write(self._part, folder, kind, refuse)
        make = partial(Watched, asked or Asked())
        report = self._examiner.examine(self._part, folder, names=[check.name], seed=seed, submission=make)
        return report.checks[0]


def sentences(part: Part, check: Check, outcome: dict[str, Any]) -> list[str]:
    """Return what an author must hear of the outcome of a check's trial."""
    file = part.checks_hidden if check.hidden else part.checks_public
    if outcome["reference"] is not None:
        return [f"{file}: {check.name} does not pass the reference solution: {outcome['reference']}"]
    return [
        f"{file}: {check.name} passes {STAND_INS[kind]}; let it fail them, "
        f"or say why it may pass: @check(..., accepts={{{kind!r}: '...'}})"
        for kind in outcome["passes"]
        if kind not in check.accepts
    ]
