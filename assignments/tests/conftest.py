"""For all assignments: one examiner, and results that stand while nothing that they follow from has changed."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import pytest

from effdl import device
from grader.book.keys import check_digests, digest_of, environment_digest, file_digest
from grader.course import Part
from grader.examine.examiner import Examiner

SETTLED = Path(__file__).parents[2] / ".cache" / "settled"
"""A file for each passed examination, named by the hash of all that it follows from. CI may keep the folder."""


@pytest.fixture(scope="session")
def examiner() -> Iterator[Examiner]:
    with Examiner("auto") as one:
        yield one


@pytest.fixture
def submission(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives a folder with the reference solution of a part, some of its files replaced."""

    def make(part: Part, replacements: Sequence[tuple[str, str]] = ()) -> Path:
        folder = tmp_path / "submission"
        folder.mkdir()
        for name in part.files:
            shutil.copy(part.source / name, folder / name)
        for name, text in replacements:
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def unsettled(
    request: pytest.FixtureRequest, examiner: Examiner
) -> Callable[[Part, Sequence[str], str], AbstractContextManager[bool]]:
    """Return a context that gives whether a submission must be examined, and notes that nothing was wrong with it.

    It follows from the text of the file that was replaced, the checks, all else in the assignment's folder, what
    course.toml says of the part, Python, every package, the grader, the tests themselves, and the kind of machine.
    EFFDL_FRESH=1 examines everything.
    """

    @contextlib.contextmanager
    def context(part: Part, checks: Sequence[str], text: str) -> Iterator[bool]:
        digests = check_digests(part)
        key = digest_of(
            *(request.node.nodeid, text, examiner.isolation, environment_digest(), device.kind()),
            *map(file_digest, (Path(__file__), request.node.path)),
            repr({**asdict(part), "source": "", "extras": sorted(part.extras)}),
            *(digests[name] for name in checks),
        )
        mark = SETTLED / key
        if mark.exists() and not os.environ.get("EFFDL_FRESH"):
            yield False
            return
        yield True
        SETTLED.mkdir(parents=True, exist_ok=True)
        mark.touch()

    return context
