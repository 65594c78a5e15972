"""Grades a class on a Slurm cluster: plans batches, watches the queue, and hands each answer to the book's writer.

One thread talks with Slurm; a few others rebuild notebooks and write folders. Whatever ends without a report (a node,
a job, the controller, this process) is asked for again in a new attempt. The book is written elsewhere, once for each
submission.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from grader.book.keys import check_digests, environment_digest
from grader.book.records import results_folder
from grader.course import CourseError
from grader.runners.slurm import queue
from grader.runners.slurm.costs import Costs
from grader.runners.slurm.queue import EXAMINER, ControllerAway, State, Wanted
from grader.runners.slurm.results import Results
from grader.runners.slurm.rounds import Asked, Ended, Keys, Round, Task
from grader.runners.slurm.sealed import Refused
from grader.runners.work import Shared

if TYPE_CHECKING:
    from concurrent.futures import Future

    from grader.book.ledger import Entry, Held
    from grader.book.results import Graded

log = logging.getLogger(__name__)

FIRST = 8  # submissions of the first task, where nobody knows yet how long one takes
TRIES = 3  # of a submission that its task did not outlive, each alone
MOST_ENDS = 20  # of tasks that were at one submission, whatever Slurm says of them
PATIENCE = 4  # attempts that end without one report, one after the other
AWAY = 1800.0  # seconds without a word of the controller's
GONE = "gone"  # in the place of a state: Slurm does not know the task, or no longer
_LOOK = 0.3  # seconds between two looks at the disk


@dataclass
class Todo:
    """One submission that must be examined."""

    asked: Asked
    alone: bool = False  # a task has ended while it was at this one
    tries: int = 0
    ends: int = 0  # of tasks that were at this one
    away: bool = False  # in an attempt that is under way
    again: bool = False  # its files may have changed since somebody looked


class SlurmRunner:
    """Grades `folders` on a cluster. Use it as a context manager, and take its `results`."""

    def __init__(
        self,
        shared: Shared,
        folders: dict[str, Path],
        held: dict[str, Held],
        *,
        isolation: str,
        force: bool = False,
        at_once: int | None = None,
        begins: Callable[[str], None] | None = None,
    ):
        """Look at every submission. Raises CourseError where a notebook is plain, or Slurm's commands are missing."""
        if plain := [name for name in shared.templates if shared.part(name) is None]:
            raise CourseError(
                f"{', '.join(plain)}: no part of course.toml; --runner slurm grades parts, a plain notebook is "
                "graded by the local runner"
            )
        assert shared.course.data is not None  # it has parts
        self._folders = folders
        self._force, self._begins = force, begins or (lambda student: None)
        self._settings = shared.course.data.slurm
        if at_once:
            self._settings = replace(self._settings, at_once=at_once)
        parts = [part for name in shared.templates if (part := shared.part(name))]
        memory = self._settings.memory or EXAMINER + max(part.memory for part in parts)
        self._wanted = Wanted(self._settings, memory, max(part.gpus for part in parts))
        self._common = {
            "course": str(shared.course.root),
            "assignment": shared.assignment,
            "isolation": isolation,
            "environment": environment_digest(),
            "notebooks": list(shared.templates),
            "checks": {part.notebook: check_digests(part) for part in parts},
        }
        self._keys = Keys(results_folder(shared.course.root, shared.assignment) / "slurm")
        self._costs = Costs(self._keys.folder / "measured.json")
        self._rounds: list[Round] = []
        self._todo: dict[str, Todo] = {}
        self._excluded: dict[str, str] = {}  # node -> why
        self._in_vain: set[str] = set()  # attempts that ended without one report, since the last report
        self._waiting_for = ""
        self._told = ""  # what the last of them printed
        self._asked_at = self._heard_at = time.monotonic()
        self._stop = threading.Event()
        self._results = Results(shared, folders, held, force)
        self._thread = threading.Thread(target=self._run, name="slurm")

    def results(self) -> Iterator[Future[tuple[Graded, Entry | None]]]:
        """Return a result to come for each submission. Ask before it is entered; it keeps none that is there."""
        return self._results.all()

    def __enter__(self) -> SlurmRunner:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Stop. What is in the queue is cancelled: whoever stops the grader wants the nodes free.

        A submit host that is killed cancels nothing; started again, it takes over what its jobs have done meanwhile.
        """
        self._stop.set()
        self._thread.join()
        self._results.close()
        for round_ in self._rounds:
            self._cancel(round_)
            round_.delete()

    # --- the thread that talks with Slurm -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._look_at_all()
            self._adopt()
            while (self._todo or self._results.waiting) and not self._stop.is_set():
                self._harvest()
                for student in self._results.stale():
                    self._look(student)
                self._ask_the_queue()
                self._plan()
                self._stop.wait(_LOOK)
        except BaseException as error:
            self._results.end(error)
        finally:
            self._costs.keep()

    def _look_at_all(self) -> None:
        for student in self._folders:
            if self._stop.is_set():
                return
            self._look(student)

    def _look(self, student: str) -> None:
        """See what must be examined of a submission: nothing where its result is known, or needs no examiner."""
        known = self._todo.pop(student, None)
        try:
            asked = self._results.ask(student)
        except Exception as error:
            log.exception("%s could not be graded", student)
            self._results.fail(student, f"could not be graded: {type(error).__name__}: {error}")
            return
        if asked is not None:
            self._todo[student] = replace(known or Todo(asked), asked=asked, again=False)

    def _adopt(self) -> None:
        """Go on with the attempts of a submit host that was killed, as far as they are about what is to be done."""
        for round_ in self._keys.rounds():
            self._rounds.append(round_)
            same = round_.common == self._common and not self._force
            for task in round_.tasks:
                for index, asked in enumerate(task.asked):
                    todo = self._todo.get(asked.student)
                    if todo and same and todo.asked == asked and not todo.away:
                        todo.away = True
                        task.wanted.add(index)
                if not task.wanted:
                    round_.lost = True  # it may be in the queue for nothing
                    round_.close_task(task)
        self._asked_at = 0.0  # nobody knows how far they are

    def _harvest(self) -> None:
        for round_ in self._rounds:
            for task, index, answer in list(round_.news()):
                student = task.asked[index].student
                if isinstance(answer, Refused):
                    log.warning("not taken: %s", answer)
                    self._results.note(student, f"a report was refused: {answer}")
                    continue
                if self._todo.pop(student, None) is None:
                    continue
                self._in_vain.clear()
                self._costs.seconds.append(answer.seconds)
                if index == 0:
                    self._costs.startups.append(answer.startup)
                self._results.enter(student, answer, round_.id)
            for task in round_.open:
                for index in sorted(task.seen - task.told):
                    self._begins(task.asked[index].student)
                task.told |= task.seen
                if task.ended is not None:
                    self._close(round_, task, State("COMPLETED", task.ended.node, ""), task.ended)
                elif not task.wanted:
                    round_.close_task(task)  # its end would tell nothing more
        self._forget_what_is_over()

    def _ask_the_queue(self) -> None:
        """Find the tasks that are gone without an end of their own."""
        now = time.monotonic()
        if not self._rounds or now - self._asked_at < self._settings.ask_every:
            return
        self._asked_at = now
        try:
            states = queue.states(round_.job for round_ in self._rounds)
        except ControllerAway as error:
            self._wait_for_the_controller(error)
            return
        self._heard_at = time.monotonic()
        self._harvest()  # what was written before the controller answered
        if states and all(state.waits for state in states.values()):
            reasons = ", ".join(sorted({state.reason for state in states.values()}))
            if reasons != self._waiting_for:
                log.warning("all tasks wait in the queue: %s", reasons)
            self._waiting_for = reasons
        for round_ in self._rounds:
            for task in round_.open:
                state = states.get((round_.job, task.number), State(GONE, "", ""))
                if not state.alive:
                    self._close(round_, task, state, None)
        self._forget_what_is_over()

    def _wait_for_the_controller(self, error: ControllerAway) -> None:
        away = time.monotonic() - self._heard_at
        log.warning("Slurm's controller does not answer (%s); asking again", error)
        if away > AWAY:
            raise CourseError(
                f"Slurm's controller has not answered for {away / 60:.0f} minutes ({error}); what was recorded "
                "stays. Grade again when it does"
            )

    def _close(self, round_: Round, task: Task, state: State, ended: Ended | None) -> None:
        """Take leave of a task: what it did not answer is to be done by others."""
        left = [self._todo.get(task.asked[index].student) for index in sorted(task.wanted)]
        left = [todo for todo in left if todo is not None]
        for todo in left:
            todo.away, todo.again = False, True
        round_.lost |= ended is None
        round_.close_task(task)
        if not left:
            return
        trouble = ended.trouble if ended else ""
        log.info("task %d of %s is %s; %d go to others", task.number, round_.job, state.name, len(left))
        if len(task.wanted) == len(task.asked) and state.name not in queue.NOT_ITS_OWN:
            self._in_vain.add(round_.id)
            self._told = trouble or round_.printed(task) or f"nothing, and Slurm says {state.name}"
        if len(self._in_vain) >= PATIENCE:
            raise CourseError(
                f"{PATIENCE} attempts in a row ended without one report; the last task said: {self._told}. What "
                "was recorded stays; try grader doctor --runner slurm"
            )
        if trouble:
            if state.node not in self._excluded:
                log.warning("%s cannot grade and is left out: %s", state.node, trouble)
            self._excluded[state.node] = trouble
        elif ended is None:
            left[0].ends += 1
            # Slurm has more than one word for a task that took too much; so often nothing is lost by chance.
            if state.name not in {*queue.NOT_ITS_OWN, GONE} or left[0].ends >= MOST_ENDS:
                self._blame(left[0], state)

    def _blame(self, todo: Todo, state: State) -> None:
        """Let the submission that a task was at, when it ended by itself, run alone from now on."""
        todo.tries += todo.alone
        todo.alone = True
        if todo.tries >= TRIES:
            student = todo.asked.student
            del self._todo[student]
            self._results.fail(
                student,
                f"could not be graded: its task on {state.node or 'the cluster'} ended {todo.tries} times "
                f"({state.name}); a task has {self._settings.minutes} minutes and {self._wanted.memory >> 20} MiB, "
                "see [slurm] in course.toml",
            )

    def _forget_what_is_over(self) -> None:
        for round_ in [round_ for round_ in self._rounds if not round_.open]:
            self._rounds.remove(round_)
            if round_.lost:
                # One of its tasks may live on, on a node that comes back, and has no work any more.
                self._cancel(round_)
            round_.delete()

    def _cancel(self, round_: Round) -> None:
        try:
            queue.cancel(round_.job)
        except (ControllerAway, CourseError) as error:
            log.warning("%s may still be in the queue: %s", round_.job, error)

    def _plan(self) -> None:
        """Send what waits: a first small task where nobody knows what a submission takes, else whole batches."""
        for student in [student for student, todo in self._todo.items() if todo.again]:
            self._look(student)
        waiting = [todo for todo in self._todo.values() if not todo.away]
        if not waiting:
            return
        size = self._costs.batch(self._settings.minutes)
        if size is None:
            if self._rounds:
                return  # the first task's reports say how large the others are to be
            size, waiting = FIRST, waiting[:FIRST]
        apart = [[todo] for todo in waiting if todo.alone]
        rest = [todo for todo in waiting if not todo.alone]
        # Equal batches: a small last one would pay a whole start.
        count = max(1, round(len(rest) / size)) if rest else 0
        batches = [*apart, *(rest[i::count] for i in range(count))][: queue.MOST_TASKS]
        self._send(batches)

    def _send(self, batches: Sequence[Sequence[Todo]]) -> None:
        round_ = self._keys.begin([[todo.asked for todo in batch] for batch in batches], self._common)
        command = [sys.executable, "-m", "grader.runners.slurm.task", str(round_.folder)]
        exclude = tuple(sorted(self._excluded))
        wanted = Wanted(self._settings, self._wanted.memory, self._wanted.gpus, exclude)
        try:
            queue.submit(round_.job, command, len(batches), wanted, round_.folder)
            self._heard_at = time.monotonic()
        except ControllerAway as error:
            # Perhaps it was taken: the queue will say so.
            self._asked_at = 0.0
            self._wait_for_the_controller(error)
        except CourseError as error:
            round_.delete()
            bad = "; ".join(f"{node}: {why}" for node, why in self._excluded.items())
            raise CourseError(f"{error}" + (f". Left out were {bad}" if bad else "")) from None
        for batch in batches:
            for todo in batch:
                todo.away = True
        self._rounds.append(round_)
