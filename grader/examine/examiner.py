"""The examiner: loads the checks of a part, runs each against a submission, and keeps every verdict."""

from __future__ import annotations

import functools
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from grader.course import CourseError, Part
from grader.examine.cards import Card
from grader.examine.checks import (
    Check,
    Evidence,
    Failed,
    StudentError,
    TimedOut,
    Undecided,
    gather,
    load_checks,
)
from grader.examine.job import Job
from grader.examine.place import Place
from grader.examine.report import CheckResult, Report
from grader.examine.shown import said, short
from grader.examine.start import start_time
from grader.examine.submission import Submission
from grader.examine.suite import PROGRAMS
from grader.sandbox.build import Limits, SandboxError, environment_folders
from grader.sandbox.cgroup import CgroupError, Cgroups
from grader.sandbox.packed import Packed
from grader.sandbox.zygote import Zygote

KILLED = "your code was killed by a signal that no limit of ours sent; what it ran was run again"
TRIES = 6  # where workers are killed; a submission that kills its own has them too, and then failed
ISOLATIONS = ("auto", "namespaces", "plain")


class Examiner:
    """Runs checks and notebook cells in workers. Use it as a context manager; several threads may share one."""

    def __init__(
        self,
        isolation: str = "auto",
        *,
        programs: Mapping[str, str] = PROGRAMS,
        zygote: Zygote | None = None,
    ):
        """Start the zygote.

        `isolation` is `namespaces` (everything that grading needs: namespaces and control groups), `plain`
        (nothing: a student's own machine), or `auto` (what there is; `weakness` says what is missing).
        `programs` is what workers can do besides calling a function, see `Zygote`: checks need `PROGRAMS`. One that
        was started earlier may be handed over as `zygote`. Raises SandboxError where `namespaces` is asked for and
        cannot be had.
        """
        if isolation not in ISOLATIONS:
            raise ValueError(f"isolation is {isolation!r}; it must be one of {', '.join(ISOLATIONS)}")
        self._zygote = zygote or Zygote(programs=programs)
        cgroups, self.weakness = None, ""
        if isolation != "plain":
            try:
                cgroups = Cgroups()
            except (CgroupError, OSError) as error:
                self.weakness = f"memory is limited per process only: {error}"
                if isolation == "namespaces":
                    self._zygote.close()
                    raise SandboxError(
                        f"a submission's memory cannot be limited as a whole: {error}"
                    ) from None
        self.place = Place(
            self._zygote,
            isolated=isolation != "plain",
            cgroups=cgroups,
            start_time=start_time,
            readonly=environment_folders(),
        )
        if isolation == "auto":
            self._settle()
        elif isolation == "namespaces":
            self._try()

    @property
    def isolation(self) -> str:
        return "namespaces" if self.place.isolated else "plain"

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the zygote and every job with it."""
        try:
            self.place.close()
        finally:
            self._zygote.close()

    def examine(
        self,
        part: Part,
        folder: Path | str | Packed,
        *,
        hidden: bool = True,
        items: Iterable[str] | None = None,
        names: Iterable[str] | None = None,
        seed: int | None = None,
        on_check: Callable[[CheckResult], None] | None = None,
        submission: Callable[..., Submission] = Submission,
        skip: bool = False,
        output: bool = False,
    ) -> Report:
        """Run the checks of `part` against the files in `folder`, or against those that were read already.

        `hidden` adds the checks that students do not have, `items` keeps only those of some items, `names`
        only those with these names. The same `seed` gives the same inputs. `submission` makes what a check is
        given, for those who look on. With `skip`, what is left of an item does not run once one of its checks did
        not end in time: for a student who waits, never for a grade, where each check counts. What ranks printed
        last comes with a failed check, and with `output` all that was kept comes with every check. Never raises for
        what a submission does; raises CourseError for checks that cannot be loaded and SandboxError where no worker
        can be started, or where the part asks for a GPU and none can be had.
        """
        if not isinstance(folder, Packed) and not Path(folder).is_dir():
            raise NotADirectoryError(f"{folder}: not a folder; name the folder that holds {part.files[0]}")
        seed = secrets.randbits(62) if seed is None else seed
        wanted = checks_of(part, hidden=hidden)
        if items is not None:
            keep = set(items)
            wanted = [check for check in wanted if check.item in keep]
        if names is not None:
            keep = set(names)
            wanted = [check for check in wanted if check.name in keep]
        packed = folder if isinstance(folder, Packed) else Packed(Path(folder), part.files)
        report = Report([], notes=list(packed.notes), isolation=self.isolation, seed=seed)
        if self.weakness:
            report.notes.append(self.weakness)
        # One lease for all checks, taken before their clocks run: another grader may have the GPU for an hour.
        leased = self._lease(part, report.notes) if part.gpus and wanted else nullcontext()
        try:
            with leased as card:
                make = partial(submission, keep_output=output, card=card)
                for check in wanted:
                    late = next(
                        (one for one in report.checks if one.timed_out and one.item == check.item), None
                    )
                    if skip and late:
                        result, notes = _skipped(check, late), []
                    else:
                        result, notes = self._check(part, packed, check, seed, make)
                    report.checks.append(result)
                    report.notes += [f"{check.name}: {note}" for note in notes]
                    if on_check:
                        on_check(result)
        finally:
            if packed is not folder:
                packed.close()
        return report

    def _lease(self, part: Part, notes: list[str]) -> AbstractContextManager[Card | None]:
        """Return a lease of a GPU, or none where this machine has none and the part's kernels are interpreted."""
        try:
            return self.place.gpus().lease()
        except SandboxError as error:
            if not part.interprets:
                raise
            notes.append(f"kernels ran in Triton's interpreter, and nothing was timed: {error}")
            return nullcontext()

    def _check(
        self, part: Part, packed: Packed, check: Check, seed: int, submission: Callable[..., Submission]
    ) -> tuple[CheckResult, list[str]]:
        result, notes = self._check_undisturbed(part, packed, check, seed, submission)
        if result.verdict == "undecided":
            # A machine that was busy may be calm a moment later; a second doubt is for a person.
            result, more = self._check_undisturbed(part, packed, check, seed, submission)
            notes += [*more, "ran twice, the first run was undecided"]
        return result, notes

    def _check_undisturbed(
        self, part: Part, packed: Packed, check: Check, seed: int, submission: Callable[..., Submission]
    ) -> tuple[CheckResult, list[str]]:
        """Run a check until no worker was killed meanwhile, and drop what disturbed runs said, be it a pass.

        Where every try is disturbed, the last one counts. Check by check: else a submission could give one check
        away, and have six tries at all the others.
        """
        (result, notes), again, _ = self.place.undisturbed(
            lambda: self._check_once(part, packed, check, seed, submission), TRIES
        )
        return result, [KILLED, *notes] if again else notes

    def _check_once(
        self, part: Part, packed: Packed, check: Check, seed: int, submission: Callable[..., Submission]
    ) -> tuple[CheckResult, list[str]]:
        driver = part.driver.read_text(encoding="utf-8") if part.driver.exists() else None
        sub = submission(
            *(self.place, packed, check),
            driver=driver,
            memory=part.memory,
            seed=seed,
            references=part.checks_public.parent,
        )
        started = time.perf_counter()
        verdict, why, failure, evidence = "pass", "", None, Evidence()
        module = part.modules.get(check.item)
        try:
            # Who hands in one part of several must not cost a worker for every check of the others.
            if module and module not in packed.names:
                raise StudentError(f"{module} is missing; put it beside the notebook")
            with gather() as evidence:
                returned: Any = check.function(sub)
            if returned is not None:
                raise TypeError(
                    f"it returned {short(returned)}; a check raises Failed, as the expect functions do"
                )
            if evidence.missing:
                verdict, why = "not measured", _missing(evidence)
        except Failed as error:
            verdict, why, failure = "fail", error.why, error
        except Undecided as error:
            verdict, why = "undecided", str(error)
        except SandboxError:
            raise
        except Exception as error:
            # A submission may answer with what the check does not expect: no points, and a person looks.
            place = error.__traceback__
            assert place is not None  # it was raised
            while place.tb_next and place.tb_next.tb_frame.f_code.co_filename.endswith(".py"):
                place = place.tb_next
            where = f"{Path(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno}"
            verdict, why = "error", f"the check itself broke: {type(error).__name__}: {said(error)} ({where})"
        result = CheckResult(
            name=check.name,
            item=check.item,
            points=check.points if verdict == "pass" else 0.0,
            max_points=check.points,
            verdict=verdict,
            why=why,
            measured=evidence.measured,
            hint=check.hint_for(failure) if failure else "",
            hidden=check.hidden,
            spec=check.spec,
            yours=failure.yours if failure else "",
            expected=failure.expected if failure else "",
            forgeable=check.forgeable,
            wall=round(time.perf_counter() - started, 3),
            timed_out=isinstance(failure, TimedOut),
            output=sub.output if sub.keep_output or verdict != "pass" else [],
            told=evidence.told,
        )
        return result, sub.notes

    def _settle(self) -> None:
        """Keep isolation where a worker starts with it, else go on without."""
        try:
            if sys.platform != "linux":
                raise SandboxError("namespaces exist on Linux only")
            self._try()
        except SandboxError as error:
            self.place.isolated, self.place.cgroups = False, None
            self.weakness = f"no isolation on this machine: {error}"

    def _try(self) -> None:
        packed = Packed(Path(os.devnull))
        try:
            # One that somebody killed says nothing about this machine.
            starts, _, _ = self.place.undisturbed(lambda: self._starts_a_worker(packed), 3)
            if starts:
                return
            raise SandboxError("a sandboxed worker died while it started")
        finally:
            packed.close()

    def try_ranks(self) -> None:
        """Start two ranks on a network of their own; raises SandboxError where that cannot be."""
        packed = Packed(Path(os.devnull))
        try:
            if not self._starts_a_worker(packed, ranks=2):
                raise SandboxError("one of two ranks died while it started")
        finally:
            packed.close()

    def _starts_a_worker(self, packed: Packed, ranks: int = 1) -> bool:
        job = Job(self.place, packed, ranks, Limits())
        try:
            end = time.perf_counter() + 300  # only to end what hangs
            for rank in range(ranks):
                job.send(rank, {"target": "os:getpid", "driver": None, "world": 1, "group": False}, end)
            if not job.wait(lambda: all(job.inbox) or any(job.closed), end):
                raise SandboxError("a sandboxed worker did not answer within 300 s")
            return all(job.inbox)
        finally:
            job.close()


def _skipped(check: Check, late: CheckResult) -> CheckResult:
    why = f"not run, since {late.name} did not end in time; mend that first"
    return CheckResult(
        *(check.name, check.item, 0.0, check.points, "skipped", why),
        hidden=check.hidden,
        spec=check.spec,
        forgeable=check.forgeable,
    )


def _missing(evidence: Evidence) -> str:
    told = [f"{', '.join(dict.fromkeys(what))}: {why}" for why, what in evidence.missing.items()]
    return "; ".join(told)


def checks_of(part: Part, *, hidden: bool = True) -> list[Check]:
    """Return the checks of a part in order; raises CourseError where they disagree with `course.toml`."""
    found = _load(part.checks_public, False, _stamp(part.checks_public))
    if hidden and part.checks_hidden.exists():
        found = found + _load(part.checks_hidden, True, _stamp(part.checks_hidden))
    names = [check.name for check in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CourseError(f"{part.checks_public}: two checks are named {sorted(twice)}; rename one")
    for check in found:
        if check.item not in part.items:
            raise CourseError(
                f"{part.checks_public.parent}: check {check.name} belongs to the item {check.item!r}, "
                f"which course.toml does not list; items of part {part.number}: {', '.join(part.items)}"
            )
    return found


@functools.lru_cache(maxsize=64)
def _load(path: Path, hidden: bool, stamp: int) -> list[Check]:
    return load_checks(path, hidden=hidden)


def _stamp(path: Path) -> int:
    if not path.exists():
        raise CourseError(f"{path}: not found; the part has no checks")
    return path.stat().st_mtime_ns
