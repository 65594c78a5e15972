"""Cells run as in a kernel: the same outputs, the same namespace, and a limit on everything."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.lean import nbformat
from grader.notebooks.cells import MAX_TEXT, run_cells


def run(*sources, wall=20.0):
    found = []
    cells = [{"source": source, "cell_id": f"c{index}"} for index, source in enumerate(sources)]
    run_cells([{**cell, "wall": wall} for cell in cells], found.append)
    assert [message["index"] for message in found] == list(range(len(sources)))
    for message in found:
        for output in message["outputs"]:
            nbformat.v4.nbbase.validate(nbformat.from_dict(output), ref=output["output_type"])
    return [message["outputs"] for message in found]


def test_streams_stay_in_order_and_neighbours_are_joined():
    (outputs,) = run("import sys\nprint('a')\nprint('b')\nprint('c', file=sys.stderr)\nprint('d')")
    assert [(o["name"], o["text"]) for o in outputs] == [
        ("stdout", "a\nb\n"),
        ("stderr", "c\n"),
        ("stdout", "d\n"),
    ]


def test_the_value_of_the_last_line_is_the_result_and_a_later_cell_sees_it():
    first, second = run("x = 20\nx + 0.5", "_ + x")
    assert first[0]["output_type"] == "execute_result"
    assert first[0]["data"]["text/plain"] == "20.5"
    assert second[0]["data"]["text/plain"] == "40.5"


def test_an_error_stops_its_cell_and_no_other():
    failed, after = run("x = 1\nassert x == 2, 'not two'\nprint('unreached')", "print(x)")
    assert [(o["output_type"], o["ename"], o["evalue"]) for o in failed] == [
        ("error", "AssertionError", "not two")
    ]
    assert "assert x == 2" in "".join(failed[0]["traceback"])
    assert after[0]["text"] == "1\n"


@pytest.mark.parametrize(
    ("source", "name"),
    [("def f(:", "SyntaxError"), ("raise SystemExit(3)", "SystemExit"), ("input()", "EOFError")],
)
def test_every_way_to_fail_is_an_error_output(source, name):
    (outputs,) = run(source)
    assert [o["ename"] for o in outputs if o["output_type"] == "error"] == [name]


def test_an_exception_whose_message_raises_is_still_reported():
    outputs = run("class E(Exception):\n    def __str__(self): raise ValueError\n", "raise E()")[1]
    assert any(o["output_type"] == "error" for o in outputs)


def test_a_cell_over_its_time_is_interrupted_and_the_next_one_runs():
    slow, after = run("kept = 1\nwhile True: pass", "kept", wall=1.0)
    assert "CellTimeoutError" in [o.get("ename") for o in slow]
    assert after[0]["data"]["text/plain"] == "1"


def test_no_frame_of_the_grader_is_in_a_students_traceback():
    (outputs,) = run("while True: pass", wall=0.5)
    assert "cells.py" not in str(outputs)


def test_pictures_arrive_as_png():
    (outputs,) = run("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_what_child_processes_print_is_kept_before_the_result():
    (outputs,) = run("import os\nos.system('echo from the child')")
    assert outputs[0] == {"output_type": "stream", "name": "stdout", "text": "from the child\n"}
    assert outputs[1]["data"]["text/plain"] == "0"


def test_a_flood_of_output_is_cut_at_the_limit():
    (outputs,) = run("for _ in range(400): print('x' * 10_000)")
    assert len(outputs) == 1
    assert MAX_TEXT <= len(outputs[0]["text"]) < MAX_TEXT + 100
    assert "truncated" in outputs[0]["text"]


def test_awaiting_at_the_top_level_works_as_in_a_kernel():
    (outputs,) = run("import asyncio\nawait asyncio.sleep(0)\n7")
    assert outputs[0]["data"]["text/plain"] == "7"


def test_exit_does_not_end_the_notebook():
    assert run("exit()", "print('after')")[1][0]["text"] == "after\n"


def test_no_thread_is_left_behind():
    before = threading.active_count()
    run("x = 1")
    assert threading.active_count() == before


def test_two_notebooks_share_no_names():
    run("leaked = 1")
    (outputs,) = run("leaked")
    assert outputs[0]["ename"] == "NameError"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=4))
def test_any_text_printed_comes_back_as_it_was(texts):
    (outputs,) = run("import sys\n" + "\n".join(f"sys.stdout.write({text!r});" for text in texts))
    assert "".join(o["text"] for o in outputs) == "".join(texts)
