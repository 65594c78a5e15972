"""What is said while a class is graded."""

import io

from rich.console import Console

from grader.book.results import Graded
from grader.steps.progress import Board


def test_without_a_terminal_progress_is_plain_lines_and_ends_with_the_whole():
    file = io.StringIO()
    with Board("Grading hw1", Console(file=file, width=100)) as board:
        for done, graded in enumerate(
            [Graded("ann"), Graded("bob", unchanged=True), Graded("eve", error="x")], 1
        ):
            board.begins(graded.student)
            board.done(graded, done, 3)
    lines = file.getvalue().splitlines()
    assert lines[-1].startswith("Grading hw1: 3 of 3, ")
    assert lines[-1].endswith("1 unchanged, 1 could not be graded")
    assert "\x1b" not in file.getvalue()


def test_a_terminal_shows_who_is_being_graded_and_how_much_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("grader.steps.progress.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=True, highlight=False, width=100)
    board = Board("Grading hw1", console)
    for done in range(1, 6):
        now[0] += 2
        board.done(Graded(f"s{done}"), done, 65)
    board.begins("[red]mallory[/]")
    now[0] += 2
    console.print(board.picture())
    text = console.file.getvalue()
    assert "5 of 65, one in 2.5 s, 2:30 min left" in text
    assert "[red]mallory[/]" in text
    assert "2.0 s" in text
