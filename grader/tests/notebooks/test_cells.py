"""Cells run as in a kernel: the same outputs, the same namespace, and a limit on everything."""

import asyncio
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.lean import nbformat
from grader.notebooks.cells import MAX_TEXT, run_cells
from grader.notebooks.twin.loop import Loop


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


LOOPS = {
    "a task that a later cell awaits": (
        "import asyncio\nasync def f(x): return x + 1\ntask = asyncio.create_task(f(1))",
        "await task",
        "2",
    ),
    "the loop itself": (
        "import asyncio\nloop = asyncio.get_running_loop()",
        "loop is asyncio.get_running_loop()",
        "True",
    ),
    "a task that goes on by itself": (
        "import asyncio\nseen = []\nasync def f():\n    for i in range(3):\n        await asyncio.sleep(0)\n"
        "        seen.append(i)\n"
        "task = asyncio.ensure_future(f())",
        "seen",
        "[0, 1, 2]",
    ),
    "a call that is put off": (
        "import asyncio\nasyncio.get_event_loop().call_soon(globals().update, {'y': 3})",
        "y",
        "3",
    ),
    "a future": (
        "import asyncio\nfuture = asyncio.get_running_loop().create_future()\nfuture.set_result(4)",
        "await future",
        "4",
    ),
    "a queue between two cells": (
        "import asyncio\nqueue = asyncio.Queue()\nasync def put(): await queue.put(6)\n"
        "task = asyncio.create_task(put())",
        "await queue.get()",
        "6",
    ),
    "another thread's call": (
        "import asyncio, threading\nloop = asyncio.get_running_loop()\ndone = asyncio.Event()\n"
        "threading.Thread(target=lambda: loop.call_soon_threadsafe(done.set)).start()",
        "await done.wait()",
        "True",
    ),
}


@pytest.mark.parametrize("case", LOOPS.values(), ids=LOOPS)
def test_an_event_loop_runs_while_a_cell_runs_and_is_the_same_in_the_next(case):
    first, second, shown = case
    started, found = run(first, second)
    assert [output for output in started if output["output_type"] == "error"] == []
    assert found[-1]["data"]["text/plain"] == shown


def test_a_loop_of_ones_own_is_refused_as_in_a_kernel():
    (outputs,) = run("import asyncio\nasyncio.run(asyncio.sleep(0))")
    assert "cannot be called from a running event loop" in outputs[-1]["evalue"]


@pytest.mark.parametrize("waiting", [False, True])
def test_a_function_that_a_test_calls_finds_the_loop_running_whether_or_not_it_has_work(waiting):
    """With work in it the loop turns, without it only seems to."""
    loop, turns = Loop(), []

    async def begin():
        running = asyncio.get_running_loop()
        if waiting:
            running.call_later(0.05, turns.append, 1)
        return running

    def function(one, two):
        assert asyncio.get_running_loop() is running
        assert running.is_running()
        with pytest.raises(RuntimeError, match="already running"):
            running.run_until_complete(asyncio.get_running_loop().create_future())
        if one == two:
            raise KeyError("equal")
        running.call_soon(turns.append, 2)
        return one + loop.call(lambda: two)

    running = loop.run(begin())
    time.sleep(0.1)
    assert loop.call(function, 1, 2) == 3
    with pytest.raises(KeyError, match="equal"):
        loop.call(function, 1, 1)
    assert not running.is_running()
    assert sorted(turns) == ([1, 2] if waiting else [2])
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    loop.close()


def test_who_patches_the_class_of_the_loop_that_runs_has_patched_every_loop():
    """As nest_asyncio does: a notebook then runs loops of its own within."""
    loop = Loop()

    async def cell():
        return type(asyncio.get_running_loop())

    assert loop.run(cell()) is asyncio.SelectorEventLoop
    assert loop.call(lambda: type(asyncio.get_running_loop())) is asyncio.SelectorEventLoop
    loop.close()


@pytest.mark.parametrize("when", [1, 2])
def test_an_interrupt_as_a_short_call_begins_or_ends_leaves_no_loop_that_runs(monkeypatch, when):
    loop, calls, set_loop = Loop(), [], asyncio._set_running_loop

    def interrupted(value):
        set_loop(value)
        calls.append(value)
        if len(calls) == when:
            raise KeyboardInterrupt

    async def cell():
        return "runs"

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "_set_running_loop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.call(len, "abc")
    assert loop.call(len, "abc") == 3
    assert loop.run(cell()) == "runs"
    loop.close()


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nawait asyncio.sleep(1000)",
        "import asyncio\nasync def f():\n    while True: pass\nawait f()",
        "import asyncio\nasync def f():\n    while True: pass\ntask = asyncio.create_task(f())",
        "import asyncio\nawait asyncio.get_running_loop().create_future()",
    ],
)
def test_a_cell_that_waits_in_the_loop_for_ever_is_interrupted_and_the_next_one_runs(source):
    slow, after = run(source, "await asyncio.sleep(0, 7)", wall=0.5)
    assert slow[-1]["ename"] == "CellTimeoutError"
    assert after[0]["data"]["text/plain"] == "7"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("!echo one && echo two", "one\r\ntwo\r\n"),
        ("word = 'three'\n!echo {word} $word", "three three\r\n"),
        ("%system echo four", None),
        ("!exit 3\nprint(_exit_code)", "3\n"),
        ("!test -t 1 && echo a terminal", "a terminal\r\n"),
        ("import sys\n!python -c 'import sys; print(sys.prefix)' | grep -c {sys.prefix}", "1\r\n"),
        ("!no-such-program-anywhere\nprint('on')", None),
        ("%ls -d /tmp", None),
        ("!echo $PAGER $TERM", "cat xterm-color\r\n"),
    ],
)
def test_a_shell_line_runs_in_a_terminal_with_a_kernels_settings(source, text):
    (outputs,) = run(source)
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert not any(output.get("name") == "stderr" for output in outputs)
    if text is not None:
        assert "".join(output["text"] for output in outputs) == text


def test_a_shell_line_runs_without_a_terminal_where_the_machine_has_none_and_the_cell_goes_on(monkeypatch):
    def none():
        raise OSError("out of pty devices")

    monkeypatch.setattr(os, "openpty", none)
    (outputs,) = run(
        "word = 'a'\n!echo {word}; echo b >&2; exit 4\nprint(_exit_code)\nfiles = !echo c\nfiles"
    )
    assert "".join(output.get("text", "") for output in outputs) == "a\nb\n4\n"
    assert outputs[-1]["data"]["text/plain"] == "['c']"
    slow, after = run("!sleep 1000", "print('after')", wall=0.5)
    assert slow[-1]["ename"] == "CellTimeoutError"
    assert after[0]["text"] == "after\n"


@pytest.mark.parametrize(
    "source",
    [
        "from tqdm.auto import tqdm\nsum(tqdm(range(5)))",
        "from tqdm.autonotebook import trange\nimport warnings\nsum(trange(5))",
        "import transformers.utils as u\nassert u.is_in_notebook() if hasattr(u, 'is_in_notebook') else True\n10",
        "from rich.console import Console\nassert Console().is_jupyter\n10",
        "import rich.progress\nsum(rich.progress.track(range(5)))",
        "from huggingface_hub.utils import is_notebook\nassert is_notebook()\n10",
        "from pandas.io.formats.console import in_ipython_frontend\nassert in_ipython_frontend()\n10",
        "from ipykernel import zmqshell\nassert isinstance(get_ipython(), zmqshell.ZMQInteractiveShell)\n10",
    ],
)
def test_libraries_that_look_for_a_notebook_find_one_and_keep_off_stderr(source):
    (outputs,) = run(source)
    printed = [o for o in outputs if o.get("name") == "stderr" and "Experimental" not in o["text"]]
    assert printed == []
    assert outputs[-1]["data"]["text/plain"] == "10"


def test_what_is_shown_under_a_name_is_replaced_and_not_shown_again():
    (outputs,) = run(
        "handle = display('first', display_id=True)\nfor i in range(300): handle.update('x' * 100_000 + str(i))\n"
        "other = display('other', display_id='mine')"
    )
    assert [output["output_type"] for output in outputs] == ["display_data"] * 2
    assert outputs[0]["data"]["text/plain"].endswith("299'")


def test_a_notebook_leaves_the_environment_as_it_was():
    before = dict(os.environ)
    run("import os\nos.environ['MINE'] = '1'\nassert os.environ['PAGER'] == 'cat'")
    assert dict(os.environ) == before


def test_matplotlibs_word_on_its_font_cache_costs_no_test_and_its_other_words_stand():
    (outputs,) = run(
        "import logging, sys\nlog = logging.getLogger('matplotlib.font_manager')\n"
        "log.addHandler(handler := logging.StreamHandler(sys.stderr))\n"
        "log.warning('Matplotlib is building the font cache; this may take a moment.')\n"
        "log.warning('findfont: Font family %r not found.', 'mine')\nlog.removeHandler(handler)"
    )
    assert [output["text"] for output in outputs] == ["findfont: Font family 'mine' not found.\n"]


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
