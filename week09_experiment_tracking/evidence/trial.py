"""Run tests on one faulty kit after another, each in a process of its own, with a deadline.

A worker imports PyTorch once and forks for every kit: a fork takes milliseconds, an import seconds. Whatever a faulty
kit does (never end, change PyTorch, take the process down), the next one starts from the same state. A test that
never enters what was changed is not run: it cannot fail.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from week09_experiment_tracking.children import heard_from_fork

KIT = Path(__file__).with_name("kit.py")
EACH = 1.5
"""Seconds of processor time that a test may take; those of the pool take a tenth of one. (Not of the clock: a busy
machine is no fault.)"""


class Late(BaseException):
    """A test has had its time."""


def outcomes(sources: Mapping[str, str], tests: Sequence[str] = (), workers: int = 2, first: bool = False):
    """What each test says of each kit: {kit: {test: (failed, seconds)}}.

    Args:
        sources: name and whole source of each kit.
        tests: names of tests of the pool; all without.
        workers: processes that fork. They need a system that can (Linux, macOS).
        first: stop at a kit's first failure, as a developer would. Then later tests are missing.
    """
    names = list(sources)
    calls = [
        {"kits": {name: sources[name] for name in names[i::workers]}, "tests": list(tests), "first": first}
        for i in range(workers)
    ]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in calls
    ]
    try:
        for job, call in zip(jobs, calls, strict=True):
            job.stdin.write(json.dumps(call))
            job.stdin.close()
        found = {}
        for job in jobs:
            for line in job.stdout:
                found.update(json.loads(line))
            if job.wait():
                raise RuntimeError(f"a worker ended with status {job.returncode}")
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    return {name: {test: tuple(result) for test, result in found[name].items()} for name in names}


def _worker() -> None:
    import torch

    from week09_experiment_tracking.evidence.pool import POOL

    torch.set_num_threads(1)
    call = json.loads(sys.stdin.read())
    tests = [test for test in POOL if not call["tests"] or test.name in call["tests"]]
    # This also imports what a test imports on its first call: the children find it in memory.
    entered = {test.name: _entered(test.run) for test in tests}
    for name, source in call["kits"].items():
        changed = changes(source)
        concerned = [test for test in tests if changed is None or entered[test.name] & changed]
        found = _apart(source, concerned, call["first"])
        if not (call["first"] and any(failed for failed, _ in found.values())):
            found |= {test.name: (False, 0.0) for test in tests if test.name not in found}
        line = json.dumps({name: {test.name: found[test.name] for test in tests if test.name in found}})
        os.write(1, line.encode() + b"\n")  # a line of some kilobytes: whole, or not at all


def changes(source: str) -> set[str] | None:
    """Names of the functions and classes in which a kit differs from the original; None where more differs."""

    def parts(text: str) -> tuple[dict[str, str], list[str]]:
        body = ast.parse(text).body
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for inner in ast.walk(node):  # mutants are written without docstrings
                    if (
                        isinstance(inner, ast.FunctionDef | ast.ClassDef)
                        and ast.get_docstring(inner) is not None
                    ):
                        inner.body = inner.body[1:] or [ast.Pass()]
        named = {node.name: ast.dump(node) for node in body if hasattr(node, "name")}
        docstring = isinstance(body[0], ast.Expr)
        return named, [ast.dump(node) for node in body[docstring:] if not hasattr(node, "name")]

    try:
        (mine, rest), (original, other) = parts(source), parts(KIT.read_text(encoding="utf-8"))
    except (SyntaxError, IndexError):
        return None
    if rest != other or set(mine) != set(original):
        return None
    return {name for name in mine if mine[name] != original[name]} or None


def _entered(run: Callable) -> set[str]:
    """The functions and classes of the kit that a test calls, itself or through others."""
    found, kit = set(), types.ModuleType("kit")
    sys.modules["kit"] = kit
    exec(compile(KIT.read_text(encoding="utf-8"), "kit.py", "exec"), kit.__dict__)

    def noted(name: str, item: Callable) -> Callable:
        def call(*arguments, **options):
            found.add(name)
            return item(*arguments, **options)

        return call

    for name, item in list(vars(kit).items()):
        if getattr(item, "__module__", "") == "kit":
            setattr(kit, name, noted(name, item))
    run(kit)
    return found


def _apart(source: str, tests: Sequence, first: bool) -> dict[str, tuple[bool, float]]:
    """Run the tests on one kit in a child; a test that the child did not live to finish has failed."""
    longest = 5 * EACH * (1 + len(tests))  # for what only waits
    text = heard_from_fork(lambda writing: _examine(source, tests, first, writing), longest)
    found = {name: (failed, seconds) for name, failed, seconds in map(json.loads, text.splitlines())}
    for test in tests:
        if test.name not in found and not (first and any(failed for failed, _ in found.values())):
            found[test.name] = (True, EACH)
    return found


def _examine(source: str, tests: Sequence, first: bool, writing: int) -> None:
    """In the child: make the kit, run the tests, write a line for each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Hypothesis tells at length what failed
    os.dup2(2, 1)

    def late(number, frame):
        raise Late

    signal.signal(signal.SIGVTALRM, late)
    kit, broken = types.ModuleType("kit"), False
    sys.modules["kit"] = kit
    try:
        exec(compile(source, "kit.py", "exec"), kit.__dict__)
    except Exception:
        broken = True
    for test in tests:
        start, failed = time.process_time(), broken
        signal.setitimer(signal.ITIMER_VIRTUAL, EACH)
        try:
            test.run(kit)
        except (Exception, Late):
            failed = True
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        line = json.dumps([test.name, failed, time.process_time() - start])
        os.write(writing, line.encode() + b"\n")
        if failed and first:
            return


if __name__ == "__main__":
    _worker()
