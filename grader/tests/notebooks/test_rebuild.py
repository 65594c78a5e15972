"""A submitted notebook changes nothing but its answers, whatever is in it."""

import json
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from grader.lean import nbformat
from grader.notebooks import reading
from grader.notebooks.reading import LARGE_NOTEBOOK, clean_apart, clean_outputs
from grader.notebooks.rebuild import rebuild, rebuild_apart
from grader.notebooks.template import Template, grade_id
from grader.safe import apart, html
from grader.safe.html import harmless_markdown, html_within_limits, render_markdown
from grader.safe.pictures import Room
from grader.tree import MAX_NOTEBOOK

NEW = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}


def cell(name, kind, source, **flags):
    metadata = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    metadata |= {"grade_id": name, **flags}
    return NEW[kind](source, id=name, metadata={"nbgrader": metadata} if name[0] != "_" else {})


CELLS = [
    cell("_title", "markdown", "# Title"),
    cell("answer", "code", "raise NotImplementedError()", solution=True),
    cell(
        "test",
        "code",
        "assert f(1) == 1\n### BEGIN HIDDEN TESTS\nassert f(2)\n### END HIDDEN TESTS",
        grade=True,
    ),
    cell("essay", "markdown", "Write here.", solution=True, grade=True),
    cell("plot", "code", "plot()", solution=True, grade=True),
]
FILES = Template("nb", CELLS, {"name": "python3", "display_name": "Python 3"}, judges_files=True)
PLAIN = Template("nb", CELLS, {"name": "python3", "display_name": "Python 3"}, judges_files=False)


PASTED = {"image.png": {"image/png": "aGk="}}
OTHER = {"image.png": {"image/png": "aG8="}}


def submitted(path, cells, **top):
    data = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **top}
    path.write_text(json.dumps(data))
    return path


def theirs(name, source, kind="code", **more):
    metadata = {"nbgrader": {"grade_id": name, "solution": True}} if name else {}
    return {"cell_type": kind, "source": source, "metadata": metadata, **more}


def sources(notebook):
    return {grade_id(cell): cell.source for cell in notebook.cells if grade_id(cell)}


def test_answers_are_taken_and_nothing_else(tmp_path):
    path = submitted(
        tmp_path / "nb.ipynb",
        [
            theirs("essay", ["My ", "essay"], "markdown"),
            theirs("answer", "def f(x): return x"),
            theirs("test", "pass"),
            theirs("", "import sys"),
        ],
    )
    notebook, notes = rebuild(FILES, path)
    assert [grade_id(cell) for cell in notebook.cells] == ["", "answer", "test", "essay", "plot"]
    assert sources(notebook)["answer"] == "def f(x): return x"
    assert sources(notebook)["essay"] == "My essay"
    assert sources(notebook)["test"] == CELLS[2].source
    assert any("test was edited" in note for note in notes)
    assert any("plot is missing" in note for note in notes)


def test_tags_points_and_ids_of_a_submission_are_the_courses_own(tmp_path):
    tampered = theirs("test", CELLS[2].source, id="x" * 900)
    tampered["metadata"] = {
        "tags": ["skip-execution", "raises-exception"],
        "nbgrader": {"grade_id": "test", "points": 1e9, "grade": False, "schema_version": 99},
    }
    notebook, _ = rebuild(PLAIN, submitted(tmp_path / "nb.ipynb", [tampered]))
    test = next(cell for cell in notebook.cells if grade_id(cell) == "test")
    assert test.metadata == CELLS[2].metadata
    nbformat.validate(notebook)


# jupyter/nbgrader#1083: an editor that splits or copies a cell keeps its id, and stock nbgrader gives up.
@pytest.mark.parametrize(
    ("cells", "answer", "runs", "told"),
    [
        (["import math", "def f(): pass"], "import math", ["def f(): pass"], "together they are the answer"),
        (["a", "b", "%%time\nc"], "a", ["b", "%%time\nc"], "together they are the answer"),
        (["raise NotImplementedError()\n", "a = 1"], "a = 1", [], "the one with an answer counts"),
        (["", "a = 1"], "a = 1", [], "the one with an answer counts"),
        (["a = 1", "a = 1\n", "raise NotImplementedError()"], "a = 1", [], "the first counts"),
        (["raise NotImplementedError()", ""], "raise NotImplementedError()", [], "the first counts"),
    ],
)
def test_of_an_answer_split_into_cells_nothing_is_lost_and_each_part_runs(
    tmp_path, cells, answer, runs, told
):
    test = theirs("test", "x")
    path = submitted(tmp_path / "nb.ipynb", [*(theirs("answer", source) for source in cells), test])
    notebook, notes = rebuild(PLAIN, path)
    order = [grade_id(cell) or cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert order == ["answer", *runs, "test", "plot"]
    assert sources(notebook)["answer"] == answer
    assert any(f"{len(cells)} cells are called answer; {told}" in note for note in notes)
    nbformat.validate(notebook)


def test_a_copy_runs_where_it_stands_and_what_was_made_a_text_of_it_stays_one(tmp_path):
    cells = [
        theirs("answer", "an older try", "raw"),
        theirs("answer", "answer"),
        theirs("", "own"),
        theirs("test", "x"),
        theirs("answer", "after the test"),
        theirs("answer", "a *remark*", "markdown"),
    ]
    notebook, _ = rebuild(PLAIN, submitted(tmp_path / "nb.ipynb", cells))
    order = [(cell.cell_type, grade_id(cell) or cell.source) for cell in notebook.cells]
    assert order == [
        *(("markdown", "an older try"), ("code", "answer"), ("code", "own"), ("code", "test")),
        *(("code", "after the test"), ("markdown", "a *remark*"), ("markdown", "essay"), ("code", "plot")),
    ]


@pytest.mark.parametrize("template", [FILES, PLAIN], ids=["part", "plain"])
def test_a_report_split_into_cells_is_one_text_with_the_pictures_of_each(tmp_path, template):
    halves = [
        theirs("essay", "One ![](attachment:image.png)", "markdown", attachments=PASTED),
        theirs("essay", "Write here.", "markdown"),
        theirs("essay", "One ![](attachment:image.png)", "markdown", attachments=PASTED),
        theirs("essay", "two ![](attachment:image.png)", "markdown", attachments=OTHER),
        theirs("essay", "<script>x()</script>", "code"),
    ]
    notebook, _ = rebuild(template, submitted(tmp_path / "nb.ipynb", halves))
    (cell,) = (cell for cell in notebook.cells if grade_id(cell) == "essay")
    source = cell.source.replace("attachment:1-image", "attachment:image")
    assert source == (
        "One ![](attachment:image.png)\n\ntwo ![](attachment:image.png)\n\n&lt;script>x()&lt;/script>"
    )
    assert [*cell.attachments.values()] == [PASTED["image.png"], OTHER["image.png"]]
    assert "two" not in [cell.source for cell in notebook.cells if not grade_id(cell)]


def test_of_tests_that_stand_twice_none_counts_but_the_courses_own(tmp_path):
    path = submitted(tmp_path / "nb.ipynb", [theirs("test", "pass"), theirs("test", "pass")])
    for template in (FILES, PLAIN):
        notebook, notes = rebuild(template, path)
        assert sources(notebook)["test"] == CELLS[2].source
        assert "pass" not in [cell.source for cell in notebook.cells]
        assert any("2 cells are called test; the course's own is used" in note for note in notes)


def test_a_plain_notebook_keeps_the_students_own_cells_in_their_places(tmp_path):
    path = submitted(
        tmp_path / "nb.ipynb",
        [theirs("", "import torch"), theirs("answer", "a"), theirs("", "helper()"), theirs("test", "x")],
    )
    notebook, _ = rebuild(PLAIN, path)
    order = [grade_id(cell) or cell.source for cell in notebook.cells]
    assert order == ["import torch", "answer", "helper()", "test", "essay", "plot"]


def test_the_released_test_without_its_hidden_part_is_no_tampering(tmp_path):
    path = submitted(tmp_path / "nb.ipynb", [theirs("test", "assert f(1) == 1\n")])
    _, notes = rebuild(PLAIN, path)
    assert not any("edited" in note for note in notes)


def test_a_picture_in_a_report_cell_is_kept_and_a_script_is_not(tmp_path):
    outputs = [
        {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": ["<Fig", "ure>"]}},
        {"output_type": "display_data", "data": {"application/javascript": "alert(1)"}},
        {"output_type": "display_data", "data": {"image/png": '"><script>alert(1)</script>'}},
        {"output_type": "stream", "name": "stdout", "text": "said"},
        {"output_type": "surprise"},
    ]
    notebook, _ = rebuild(FILES, submitted(tmp_path / "nb.ipynb", [theirs("plot", "p()", outputs=outputs)]))
    kept = notebook.cells[-1].outputs
    assert kept[0].data == {"image/png": "aGk=", "text/plain": "<Figure>"}
    assert "script" not in json.dumps(kept)
    assert kept[-1].text == "said"
    nbformat.validate(notebook)


def test_outputs_of_test_cells_are_never_taken(tmp_path):
    path = submitted(
        tmp_path / "nb.ipynb",
        [
            theirs("test", "x", outputs=[{"output_type": "stream", "name": "stdout", "text": "passed"}]),
            theirs("plot", "y", outputs=[{"output_type": "stream", "name": "stdout", "text": "plotted"}]),
        ],
    )
    notebook, _ = rebuild(PLAIN, path)
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"cells": [', "not a notebook"),
        (b"[]", "no nbformat"),
        (b'{"nbformat": 4}', "without a list of cells"),
        (b'{"nbformat": "4", "cells": []}', "no nbformat"),
        (b"[" * 100_000, "not a notebook"),
        (b"\xff\xfe\x00", "not a notebook"),
        (b"", "not a notebook"),
    ],
)
def test_what_is_no_notebook_gives_the_released_one_and_a_sentence(tmp_path, data, says):
    path = tmp_path / "nb.ipynb"
    path.write_bytes(data)
    notebook, notes = rebuild(FILES, path)
    assert sources(notebook) == {grade_id(c): c.source for c in CELLS if grade_id(c)}
    assert says in notes[0]
    assert "nb.ipynb" in notes[0]


def test_a_missing_notebook_is_noted(tmp_path):
    _, notes = rebuild(FILES, tmp_path / "nb.ipynb")
    assert "cannot be read" in notes[0]


def test_a_huge_file_is_not_even_read(tmp_path):
    path = tmp_path / "nb.ipynb"
    with path.open("wb") as file:
        file.truncate(MAX_NOTEBOOK + 1)
    _, notes = rebuild(FILES, path)
    assert "512 MiB, more than 512" in notes[0]


def test_a_large_notebook_is_read_without_its_outputs(tmp_path):
    nested = {"outputs": [[{}]]}
    picture = {"output_type": "display_data", "data": {"image/png": "A" * LARGE_NOTEBOOK, "x": nested}}
    cells = [
        theirs("answer", 'a = "\\"outputs\\": [" # "', outputs=[picture]),
        theirs("essay", "Mine.", "markdown", attachments={"a.png": {"image/png": "AA"}}),
    ]
    notebook, notes = rebuild(FILES, submitted(tmp_path / "nb.ipynb", cells))
    assert sources(notebook)["answer"] == cells[0]["source"]
    assert sources(notebook)["essay"] == "Mine."
    assert "read without its outputs" in notes[0]


@pytest.mark.parametrize("piece", [b'"\\', b"[", b"\0", b'"outputs": ['])
def test_a_large_file_that_is_no_notebook_is_given_up_in_a_sentence(tmp_path, piece):
    path = tmp_path / "nb.ipynb"
    path.write_bytes(piece * (LARGE_NOTEBOOK // len(piece) + 1))
    _, notes = rebuild(FILES, path)
    assert "its answers are not read" in notes[0]


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path):
    path = submitted(tmp_path / "nb.ipynb", [theirs("answer", "a = 1\r\nb = 2")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert sources(rebuild(FILES, path)[0])["answer"].startswith("a = 1")


def test_notebook_format_3_is_upgraded(tmp_path):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {
                "metadata": {},
                "cells": [
                    {
                        "cell_type": "code",
                        "input": ["old = 1"],
                        "language": "python",
                        "outputs": [],
                        "collapsed": False,
                        "metadata": {"nbgrader": {"grade_id": "answer"}},
                    }
                ],
            }
        ],
    }
    path = tmp_path / "nb.ipynb"
    path.write_text(json.dumps(old))
    notebook, notes = rebuild(FILES, path)
    assert sources(notebook)["answer"] == "old = 1"
    assert "format 3" in notes[0]


def test_half_a_surrogate_pair_can_still_be_written_to_disk(tmp_path):
    path = tmp_path / "nb.ipynb"
    path.write_text(
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = \'\\ud800\'", '
        '"metadata": {"nbgrader": {"grade_id": "answer"}}}]}'
    )
    notebook, _ = rebuild(FILES, path)
    nbformat.writes(notebook).encode("utf-8")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["code"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["cell_type", "source", "metadata", "nbgrader", "grade_id", "outputs", "data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_JSON, max_size=6))
def test_no_json_in_the_cells_breaks_the_rebuilding(tmp_path_factory, cells):
    path = submitted(tmp_path_factory.mktemp("any") / "nb.ipynb", cells)
    for template in (FILES, PLAIN):
        notebook, _ = rebuild(template, path)
        nbformat.validate(notebook)
        assert [grade_id(c) for c in notebook.cells if grade_id(c)] == ["answer", "test", "essay", "plot"]


@settings(deadline=None)
@given(ANY_JSON)
def test_no_output_breaks_the_cleaning(outputs):
    for output in clean_outputs(outputs):
        nbformat.v4.nbbase.validate(nbformat.from_dict(output), ref=output["output_type"])


def test_notes_quote_what_was_changed(tmp_path):
    test = theirs("test", "assert f(1) == 1\nprint('all right')")
    test["metadata"] = {
        "tags": ["skip-execution", "x" * 500],
        "nbgrader": {"grade_id": "test", "grade": False, "points": "\u202e9", "solution": False},
    }
    _, notes = rebuild(FILES, submitted(tmp_path / "nb.ipynb", [test]))
    assert any("cell test was edited, with: print('all right')" in note for note in notes)
    assert any("test came back tagged skip-execution, xxx" in note for note in notes)
    assert any("test came back with grade False, not True" in note for note in notes)
    assert all(len(note) < 200 and "\u202e" not in note for note in notes)


def test_unusual_lines_of_a_plain_notebook_are_quoted_with_their_cell(tmp_path):
    cells = [theirs("", "import sys"), theirs("answer", "def f(x):\n    return sys._getframe(1).f_locals")]
    _, notes = rebuild(PLAIN, submitted(tmp_path / "nb.ipynb", cells))
    assert any("cell 2 (answer), line 2 is about the caller's frames" in note for note in notes)
    _, notes = rebuild(FILES, submitted(tmp_path / "nb.ipynb", cells))  # no cell of it runs
    assert not any("frames" in note for note in notes)


def test_a_pasted_picture_stays_in_a_report_and_what_is_no_picture_does_not(tmp_path):
    essay = theirs("essay", "See ![plot](attachment:plot.png).", "markdown")
    essay["attachments"] = {
        "plot.png": {"image/png": "aGk="},
        "page": {"text/html": "<script>", "image/png": '"><script>'},
        "bad": 7,
    }
    notebook, _ = rebuild(FILES, submitted(tmp_path / "nb.ipynb", [essay]))
    (cell,) = (cell for cell in notebook.cells if grade_id(cell) == "essay")
    assert cell.attachments == {"plot.png": {"image/png": "aGk="}}
    assert cell.source == essay["source"]
    nbformat.validate(notebook)


def kept(tmp_path, source, attachments, template=FILES):
    """Return the report that becomes of `source` with `attachments`, and the notes on its pictures."""
    essay = theirs("essay", source, "markdown", attachments=attachments)
    notebook, notes = rebuild(template, submitted(tmp_path / "nb.ipynb", [essay]))
    nbformat.validate(notebook)
    (cell,) = (cell for cell in notebook.cells if grade_id(cell) == "essay")
    return cell, [note for note in notes if "picture" in note]


def stock(cell):
    """Return the HTML that nbconvert itself makes of a cell; it raises where an attachment is missing."""
    renderer = IPythonRenderer(escape=False, attachments=cell.get("attachments"))
    return MarkdownWithMath(renderer=renderer).render(cell.source)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("my plot.png", "my%20plot.png"),
        ("рис.png", "рис.png"),
        ("a.png", "a.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
    ],
)
def test_nbgraders_own_page_shows_a_picture_whose_name_is_written_otherwise_in_the_text(
    tmp_path, name, asked
):
    cell, notes = kept(tmp_path, f"**bold** ![](attachment:{asked})", {name: {"image/gif": "aGk="}})
    assert '<img src="data:image/gif;base64,aGk="' in stock(cell)
    assert cell.source == f"**bold** ![](attachment:{asked})"
    assert notes == []


@pytest.mark.parametrize(
    ("attachments", "told"),
    [
        ({"a.svg": {"image/svg+xml": "PHN2Zz4="}}, "is image/svg+xml, not PNG, JPEG or GIF"),
        (
            {"a.svg": {"text/html": "<script>", "image/webp": "aGk="}},
            "is text/html, image/webp, not PNG, JPEG",
        ),
        ({"a.svg": {"image/png": '"><script>'}}, "is no data of a picture"),
        ({"a.svg": {"image/png": "A" * reading.MAX_OUTPUT + "AAAA"}}, "is one too many"),
        ({"a.svg": {"image/png": "Qk0AAAAA"}}, "is no PNG, JPEG or GIF"),
        ({"a.svg": 7}, "is empty, not PNG"),
        ({}, "is not in the notebook"),
    ],
    ids=["svg", "others", "no base64", "large", "bitmap", "number", "missing"],
)
def test_of_a_picture_that_is_not_kept_words_stand_there_a_note_names_it_and_the_text_stays(
    tmp_path, attachments, told
):
    source = "**bold** ![loss](attachment:a.svg) ![](attachment:p.png)"
    cell, notes = kept(tmp_path, source, {"p.png": {"image/png": "aGk="}, **attachments})
    assert cell.source == source
    assert 'src="data:image/png;base64," alt="loss"' in stock(cell)  # a browser shows the words
    page = render_markdown(cell.source, cell.attachments)
    assert "[picture: loss (a.svg)]" in page
    assert "base64,aGk=" in page
    assert "script" not in json.dumps(cell)
    (note,) = notes
    assert note.startswith("nb.ipynb: essay: the picture a.svg ")
    assert told in note
    assert note.endswith("its name is shown")


def test_a_picture_shown_too_often_for_a_page_is_named_instead(tmp_path, monkeypatch):
    monkeypatch.setattr(Room.__init__, "__defaults__", (10,))
    cell, notes = kept(tmp_path, "![](attachment:image.png)" * 3, PASTED)
    assert "aGk=" not in stock(cell)
    assert "would be shown more often than a page has room" in notes[0]


def test_a_picture_of_the_courses_own_cell_is_kept_whatever_the_student_kept_of_it(tmp_path):
    cells = [
        cell("read", "markdown", "Look: ![](attachment:fig.png)", locked=True),
        cell("essay", "markdown", "Explain ![](attachment:fig.png)", solution=True, grade=True),
    ]
    for ours in cells:
        ours.attachments = nbformat.from_dict({"fig.png": {"image/png": "b3Vycw=="}})
    evil = {"fig.png": {"image/png": "dGhlaXJz"}}
    path = submitted(
        tmp_path / "nb.ipynb",
        [
            theirs("read", "x", "markdown", attachments=evil),
            theirs("essay", "![](attachment:fig.png)", "markdown"),
        ],
    )
    for template in (
        Template("nb", cells, {}, judges_files=True),
        Template("nb", cells, {}, judges_files=False),
    ):
        for rebuilt in (rebuild(template, path)[0], rebuild_apart(template, path)[0]):
            for found in rebuilt.cells:
                assert found.attachments == {"fig.png": {"image/png": "b3Vycw=="}}
                assert "b3Vycw==" in stock(found)
    cells[1].source = ""
    rebuilt, _ = rebuild(template, submitted(path, [theirs("essay", "No picture.", "markdown")]))
    assert "attachments" not in rebuilt.cells[1]


def test_html_of_an_output_is_written_clean():
    data = {
        "text/html": '<table class="dataframe"><tr onclick="x()"><td>1</td></tr></table><script>x()</script>'
    }
    outputs = [{"output_type": "display_data", "data": data}, {"output_type": "display_data", "data": {}}]
    (output,) = clean_outputs(outputs)
    assert output["data"]["text/html"].replace("<tbody>", "").replace("</tbody>", "") == (
        '<table class="dataframe"><tr><td>1</td></tr></table>'
    )


# --- a clock ------------------------------------------------------------------------------------------------

DEEP = "<div>" * 6000
SPACES = "a" + " " * 64_000 + "<b>"


def test_what_nobody_keeps_meets_no_parser(tmp_path, monkeypatch):
    met = []
    monkeypatch.setattr(reading, "html_within_limits", lambda text: met.append(text) or text)
    monkeypatch.setattr(reading, "harmless_markdown", lambda text, *_: met.append(text) or text)
    outputs = [{"output_type": "display_data", "data": {"text/html": "an output"}}]
    cells = [
        theirs("test", "x", outputs=outputs),
        theirs("answer", "x", outputs=outputs),
        theirs("_title", "a text of ours", "markdown"),
        theirs("", "an own text", "markdown"),
        theirs("", "own", outputs=outputs),
    ]
    rebuild(FILES, submitted(tmp_path / "nb.ipynb", cells))
    assert met == []
    rebuild(PLAIN, submitted(tmp_path / "nb.ipynb", cells))
    assert met == ["a text of ours", "an own text"]  # a plain notebook keeps what has no id of the course's


def test_html_too_large_or_too_deep_meets_no_parser_and_a_sentence_says_so(monkeypatch):
    assert html_within_limits("<div>" * 50) is not None
    met = []
    monkeypatch.setattr(html, "at_most", met.append)  # what begins whatever parses
    for text in (DEEP, "<b>x</b>" * html.MAX_HTML):
        assert html_within_limits(text) is None
        (output,) = clean_outputs([{"output_type": "display_data", "data": {"text/html": text}}])
        told = f"[text/html of {len(text)} characters: too much to be shown]"
        assert output["data"] == {"text/plain": told}
    assert met == []


def test_markdown_of_many_spaces_meets_no_parser_and_is_shown_as_text(monkeypatch):
    met = []
    monkeypatch.setattr(html, "_render", lambda *_: met.append(1) or "")
    assert harmless_markdown(SPACES) == f"```text\n{SPACES}\n```"
    assert render_markdown(SPACES) == f"<pre>{SPACES.replace('<', '&lt;').replace('>', '&gt;')}</pre>"
    assert met == []


def test_a_parser_that_does_not_end_is_ended_by_the_clock(monkeypatch):
    def forever(*_):
        while True:
            pass

    monkeypatch.setattr(html, "SECONDS", 0.05)
    monkeypatch.setattr(html, "_render", forever)
    assert harmless_markdown("<b>") == "```text\n<b>\n```"
    assert render_markdown("<b>") == "<pre>&lt;b&gt;</pre>"


def test_a_child_reads_as_the_caller_would(tmp_path):
    outputs = [{"output_type": "display_data", "data": {"text/html": "<b onclick='x()'>1</b>"}}]
    cells = [
        theirs("answer", "a"),
        theirs("essay", "<b>E</b>", "markdown"),
        theirs("plot", "p", outputs=outputs),
    ]
    path = submitted(tmp_path / "nb.ipynb", cells)
    for template in (FILES, PLAIN):
        here, notes = rebuild(template, path)
        apart_, told = rebuild_apart(template, path)
        assert told == notes
        for cell in (*here.cells, *apart_.cells):
            cell.pop("id")
        assert apart_ == here
    assert clean_apart([outputs, "no outputs"]) == ([clean_outputs(outputs), []], [])


def test_where_the_clock_ends_the_child_answers_are_kept_and_texts_are_shown_as_text(tmp_path, monkeypatch):
    call, limits = apart.call, {"seconds": 1}

    def short(target, *args):
        if args[-1] is not False:  # what `parse` is the first time
            return call("re:match", "(a*)*b", "a" * 40, **limits)
        return call(target, *args)

    monkeypatch.setattr(apart, "call", short)
    cells = [theirs("answer", "a = 1"), theirs("essay", "<b>E</b>", "markdown")]
    notebook, notes = rebuild_apart(FILES, submitted(tmp_path / "nb.ipynb", cells))
    assert sources(notebook)["answer"] == "a = 1"
    assert sources(notebook)["essay"] == "```text\n<b>E</b>\n```"
    assert notes[0] == "nb.ipynb: takes more than 1 s; its texts and pictures are shown as text"
    outputs = [{"output_type": "execute_result", "data": {"text/html": "<b>", "text/plain": "0.5"}}]
    ((output,),), notes = clean_apart([outputs])
    assert output["data"] == {"text/plain": "0.5"}  # the points that it gives are as they were
    assert "takes more than 1 s; it is dropped" in notes[0]


# jupyter/nbgrader#92: students change the type of a cell.
@pytest.mark.parametrize("template", [FILES, PLAIN], ids=["part", "plain"])
@pytest.mark.parametrize("kind", ["code", "raw", "heading", None])
def test_a_text_handed_in_as_another_type_is_made_harmless_and_the_type_is_noted(tmp_path, kind, template):
    essay = theirs("essay", "**hi** <script>x()</script>", kind)
    notebook, notes = rebuild(template, submitted(tmp_path / "nb.ipynb", [essay]))
    (cell,) = (cell for cell in notebook.cells if grade_id(cell) == "essay")
    assert cell.cell_type == "markdown"
    assert cell.source == "**hi** &lt;script>x()&lt;/script>"
    told = "code" if kind == "code" else "a raw cell"
    assert f"nb.ipynb: the cell essay came back as {told}; it is taken as Markdown" in notes


def test_an_answer_in_code_handed_in_as_text_runs_and_the_type_is_noted(tmp_path):
    cells = [theirs("answer", "a = 1", "markdown"), theirs("test", CELLS[2].source, "raw")]
    notebook, notes = rebuild(PLAIN, submitted(tmp_path / "nb.ipynb", cells))
    assert [cell.cell_type for cell in notebook.cells[:2]] == ["code", "code"]
    assert sources(notebook)["answer"] == "a = 1"
    assert "nb.ipynb: the cell answer came back as Markdown; it is taken as code" in notes
    assert "nb.ipynb: the cell test came back as a raw cell; it is taken as code" in notes


PIECES = [
    "<b>",
    "</b>",
    "<p title='",
    "<table>",
    "<td>",
    "<!--",
    "&",
    "<script>",
    "</script ",
    "<svg/onload=x()>",
]
PIECES += [
    "*",
    "`",
    "[",
    "](",
    "![",
    "$",
    "$$",
    "> ",
    "- ",
    "1. ",
    "\n",
    "\n\n    ",
    " ",
    "|a|b|\n|-|-|\n",
    "<a href=",
]


@settings(max_examples=40, deadline=None)
@example(["`"], "*", 3)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from(PIECES), st.integers(1, 1500)
)
def test_no_text_however_often_repeated_runs_or_keeps_a_parser(pieces, last, times):
    text = "".join(pieces) * times + last * times
    for found in (html_within_limits(text) or "", render_markdown(text)):
        assert "<script" not in found
        assert "<svg" not in found
    shown = harmless_markdown(text)
    assert html._is_harmless(html._render(shown, html._recorder()([], None)))


# --- a note must be true ------------------------------------------------------------------------------------

HANDED_OUT = [
    cell("read", "markdown", "<b>Read</b> this <details>first</details> <script>x()</script>", locked=True),
    cell("answer", "code", "raise NotImplementedError()", solution=True),
    cell("test", "code", "assert f(1) == 1\n", grade=True, points=2.0, locked=True),
    cell(
        "task",
        "markdown",
        "Show.\n=== BEGIN MARK SCHEME ===\n3\n=== END MARK SCHEME ===",
        task=True,
        points=2.0,
    ),
]
RELEASE = Template("nb", HANDED_OUT, {}, judges_files=False)


def handed_out():
    """Return the cells that a student gets, by id: nbgrader's quirks are the ones that its release has."""
    # nbgrader writes `locked` as the instructor's notebook has it, and takes a test for locked all the same.
    roles = {"read": {"locked": True}, "answer": {"solution": True}, "test": {"grade": True, "points": 2}}
    roles["task"] = {"task": True, "points": 2}
    found = {}
    for original in HANDED_OUT:
        name = grade_id(original)
        role = {
            "grade": False,
            "solution": False,
            "locked": False,
            "task": False,
            "grade_id": name,
            **roles[name],
        }
        found[name] = {
            "cell_type": original.cell_type,
            "metadata": {"nbgrader": role},
            "source": original.source,
        }
    found["task"]["source"] = "Show."
    found["task"]["metadata"]["nbgrader"]["checksum"] = checksum(found["task"])
    return found


def checksum(data):
    from nbgrader.utils import compute_checksum

    return compute_checksum(NEW[data["cell_type"]](data["source"], metadata=data["metadata"]))


def by_jupyterlab(data):
    return {**data, "id": "1f", "source": data["source"].splitlines(keepends=True)}


def by_vscode(data):
    more = {"vscode": {"languageId": "python"}}
    return {**data, "metadata": {**data["metadata"], **more}, "source": data["source"].replace("\n", "\r\n")}


def by_colab(data):
    more = {"id": "aBc", "outputId": "1-2", "colab": {"base_uri": "https://localhost:8080/"}}
    return {**data, "metadata": {**data["metadata"], **more}, "source": data["source"].rstrip() + "\n"}


@pytest.mark.parametrize("save", [dict, by_jupyterlab, by_colab, by_vscode], ids=lambda save: save.__name__)
def test_untouched_work_is_not_said_to_be_touched(tmp_path, save):
    cells = handed_out()
    path = submitted(tmp_path / "nb.ipynb", [save(data) for data in cells.values()])
    _, notes = rebuild(RELEASE, path)
    assert notes == []


@pytest.mark.parametrize(
    ("begin", "end"), [("BEGIN VERSTECKT", "END VERSTECKT"), ("<<<", ">>>"), ("(* geheim", "geheim *)")]
)
def test_tests_between_marks_of_the_courses_own_are_no_tampering(tmp_path, begin, end):
    # jupyter/nbgrader#681
    cells = [
        cell("test", "code", f"assert f(1) == 1\n#{begin}\nassert f(2) == 4\n#{end}", grade=True, points=2.0),
        cell("task", "markdown", f"Show.\n{begin}\n3\n{end}", task=True, points=2.0),
    ]
    back = [theirs("test", "assert f(1) == 1"), theirs("task", "Show.", "markdown")]
    for data in back:
        del data["metadata"]["nbgrader"]["solution"]
    own = Template("nb", cells, {}, judges_files=False, hidden=(begin, end), scheme=(begin, end))
    path = submitted(tmp_path / "nb.ipynb", back)
    assert rebuild_apart(own, path)[1] == []
    back[0]["source"] = "assert True"
    path = submitted(tmp_path / "nb.ipynb", back)
    (note,) = rebuild_apart(own, path)[1]
    assert "test was edited" in note


def test_a_cell_of_an_earlier_release_is_as_it_was_handed_out_and_an_edited_one_is_not(tmp_path):
    cells = handed_out()
    test = cells["test"]
    test["source"] = "assert f(0) == 1"
    test["metadata"]["nbgrader"]["points"] = 5
    test["metadata"]["nbgrader"]["checksum"] = checksum(test)
    path = tmp_path / "nb.ipynb"
    assert rebuild(RELEASE, submitted(path, list(cells.values())))[1] == []
    test["source"] = "pass"
    _, notes = rebuild(RELEASE, submitted(path, list(cells.values())))
    assert any("cell test was edited, with: pass" in note for note in notes)
    assert any("came back with points 5" in note for note in notes)


def test_tags_are_not_held_against_a_student_where_the_courses_own_are_not_known(tmp_path):
    cells = handed_out()
    cells["test"]["metadata"]["tags"] = ["slow"]
    unknown = Template("nb", HANDED_OUT, {}, judges_files=False, knows_tags=False)
    path = submitted(tmp_path / "nb.ipynb", list(cells.values()))
    assert rebuild(unknown, path)[1] == []
    assert "came back tagged slow" in rebuild(RELEASE, path)[1][0]


def test_ids_of_cells_that_stand_twice_reach_no_terminal(tmp_path):
    cells = [{**theirs("", "x"), "id": "same", "outputs": [], "execution_count": None}] * 3
    path = submitted(tmp_path / "nb.ipynb", cells)
    code = f"from grader.lean import nbformat; print(len(nbformat.read({str(path)!r}, as_version=4).cells))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("3\n", "")
