"""A project's tests on one changed copy after another: the real pytest, without its seconds of imports each time.

    outcomes(folder, {"no eval()": {"classifier/training.py": text}}, ["tests"], imports=["torch"])

A worker imports what tests need, and lays a copy of the project for each version, with the changed files, and forks.
The fork runs pytest in it, and ends; whatever a faulty version does, the next one starts from the same state.
"""

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from week09_experiment_tracking.children import heard_from_fork

LONGEST = 60
"""Seconds of processor time for one version; only one that never ends takes them."""
# What Hypothesis keeps is written by the other worker while this one copies.
LEFT_OUT = shutil.ignore_patterns(
    "data", ".git", ".dvc", "outputs", "multirun", "__pycache__", ".hypothesis", "*.npz"
)

Outcome = dict[str, bool]
"""Which tests of a version passed, by name. A version whose tests could not be collected has "collection": False."""


def outcomes(
    folder: Path,
    versions: Mapping[str, Mapping[str, str]],
    tests: Sequence[str],
    imports: Sequence[str] = (),
    first: bool = False,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Outcome]:
    """What the project's tests say of each version.

    Args:
        folder: the project.
        versions: for each, files that differ from the project's, with their text.
        tests: paths or names of tests, as pytest takes them.
        imports: modules that a worker loads before it forks. Not torch where no test needs it: seconds.
        first: stop at a version's first failure, as a developer would; the other tests are then missing.
        workers: processes that fork. They need a system that can (Linux, macOS).
    """
    names, jobs = list(versions), []
    for part in range(min(workers, len(names))):
        call = {
            "folder": str(folder),
            "versions": {name: dict(versions[name]) for name in names[part::workers]},
            "options": [*tests, *(["-x"] if first else [])],
            "imports": list(imports),
        }
        line = [sys.executable, "-m", __name__]
        said = tempfile.TemporaryFile()  # noqa: SIM115, closed below; not a pipe, which nobody reads meanwhile
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
        job = subprocess.Popen(line, env=environment, cwd=folder, **pipes)
        jobs.append((job, json.dumps(call).encode(), said))
    try:
        for job, call, _ in jobs:  # all are given their work before any is waited for
            job.stdin.write(call)
            job.stdin.close()
        found = {}
        for job, _, said in jobs:
            answer = job.stdout.read()
            if not answer:
                said.seek(0)
                why = (said.read().decode(errors="replace").splitlines() or ["it said nothing"])[-1]
                raise RuntimeError(f"a worker ended before it had tested its versions: {why}")
            found |= json.loads(answer)
    finally:
        for job, _, said in jobs:
            job.kill()
            job.wait()
            job.stdout.close()
            said.close()
    return {name: found[name] for name in names}


def _worker() -> None:
    call = json.loads(sys.stdin.buffer.read())
    for name in ("pytest", "hypothesis.strategies", *call["imports"]):
        module = importlib.import_module(name)
        if name == "torch":
            module.set_num_threads(1)
    if "hypothesis.extra.numpy" in call["imports"]:
        _draw_once()
    found = {}
    for name, changes in call["versions"].items():
        found[name] = _apart(Path(call["folder"]), changes, call["options"])
    print(json.dumps(found))


def _draw_once() -> None:
    """Let Hypothesis load what it loads with its first example."""
    from hypothesis import given, settings
    from hypothesis import strategies as st

    @settings(max_examples=2, database=None)
    @given(st.integers(), st.randoms())
    def drawn(number, random):
        pass

    drawn()


def _apart(folder: Path, changes: Mapping[str, str], options: Sequence[str]) -> Outcome:
    """Test one version in a fork. What it had said when it was stopped counts, and one failure more."""
    with tempfile.TemporaryDirectory(prefix="version-") as place:
        # Not in the fork: there a copy that fails would look like a version that was killed.
        copy = Path(place) / folder.name
        shutil.copytree(folder, copy, ignore=LEFT_OUT)
        for name, text in changes.items():
            (copy / name).write_text(text, encoding="utf-8")
        said = heard_from_fork(lambda writing: _test(folder, copy, options, writing), 5 * LONGEST)
    found = {name: passed for name, passed in map(json.loads, said.splitlines())}
    if "all" not in found:
        found["the end"] = False
    return {name: passed for name, passed in found.items() if name != "all"}


def _test(folder: Path, copy: Path, options: Sequence[str], writing: int) -> None:
    """In the fork: run pytest on the version in `copy`, write a line for each test and one at the end."""
    import pytest

    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(folder)))]

    class Teller:
        def say(self, name: str, passed: bool) -> None:
            os.write(writing, json.dumps([name, passed]).encode() + b"\n")

        def pytest_runtest_logreport(self, report):
            if report.when == "call" or report.failed:
                self.say(report.nodeid.rpartition("::")[2], report.passed)

        def pytest_collectreport(self, report):
            if report.failed:
                self.say("collection", False)

    teller = Teller()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # most of pytest's start is other people's plugins
    plain = ["-q", "-p", "no:cacheprovider", "--assert=plain", "--rootdir", str(copy), "-c", os.devnull]
    pytest.main([*plain, *options], plugins=[teller])
    teller.say("all", True)


if __name__ == "__main__":
    _worker()
