"""Each row of the matrix really is another machine to the code that runs in it."""

import os

import pytest
from typer.testing import CliRunner

from effdl import device, matrix

KIND = ["-c", "from effdl import device; print(device.kind())"]


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="cores can be given to a process on Linux only"
)
@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("as-it-is", ""),
        ("aten-default", "default"),
        ("old-libraries", "onednn-sse41"),
        ("one-core", "-1-core"),
    ],
)
def test_a_row_is_a_kind_of_machine_of_its_own(row, word, tmp_path):
    assert matrix.ROWS[row].run(KIND, tmp_path / "log") == 0
    kind = (tmp_path / "log").read_text().strip()
    assert word in kind
    assert (kind == device.kind()) == (not word or word in device.kind())


COUNT = """
import psutil
print(sum("while True: pass" in child.cmdline() for child in psutil.Process().parent().children()))
"""


def test_neighbours_run_beside_a_row_and_are_gone_when_it_ends(tmp_path):
    import psutil

    assert matrix.Row(spinning=True).run(["-c", COUNT + "raise SystemExit(3)"], tmp_path / "log") == 3
    assert int((tmp_path / "log").read_text()) == device.cores()
    left = [
        child.info["cmdline"]
        for child in psutil.process_iter(["cmdline", "ppid"])
        if child.info["ppid"] == os.getpid()
    ]
    assert [line for line in left if line and "while True: pass" in line] == []


def test_a_summary_says_what_was_found():
    text = "week01/lecture.md runs once more; x\nran a.md in 3.0 s\nran b.md in 4 s\n2 claims do not hold on this\n"
    assert matrix.summary("notebooks", text) == "2 ran, 1 of them twice; 2 claims listed"
    assert matrix.summary("tests", "...\n12 passed, 1 skipped in 3.20s\n") == "12 passed, 1 skipped in 3.20s"
    two = "12 passed, 1 skipped in 3.20s\n1 failed, 2 passed in 4.00s\n"
    assert matrix.summary("tests", two) == "12 passed, 1 skipped in 3.20s; 1 failed, 2 passed in 4.00s"
    assert matrix.summary("tests", "Killed") == "no result of pytest"


@pytest.mark.parametrize(("second", "passes"), [(0, True), (1, False)])
def test_what_failed_is_asked_once_more_and_the_rest_still_runs(second, passes, monkeypatch, tmp_path):
    log = tmp_path / "log"
    log.write_text("of an earlier run")
    first, rest = (
        ["-c", f"print({word!r}); raise SystemExit({status})"] for word, status in (("one", 1), ("two", 0))
    )
    monkeypatch.setattr(matrix, "STEPS", {"tests": [first, rest]})
    monkeypatch.setattr(matrix, "AGAIN", {"tests": ["-c", f"print('again'); raise SystemExit({second})"]})
    assert matrix.passes(matrix.Row(), "tests", log) == passes
    assert log.read_text().split() == ["one", "again", "two"]


def test_an_unknown_row_is_refused_with_those_that_exist():
    import typer

    app = typer.Typer()
    app.command()(matrix.main)
    result = CliRunner().invoke(app, ["quantum"])
    assert result.exit_code == 2
    assert "quantum" in result.output
    assert "one-core" in result.output
