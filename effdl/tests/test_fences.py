"""Cells and text of a lab: what a fence shows never runs, and what follows it does."""

import pytest

from effdl.fences import from_markdown, problems_of


def kinds(text):
    return [cell.cell_type for cell in from_markdown(text).cells]


CELL = "```python\ntotal = 1\n```"
SHOWN = {
    "four backticks around three": f"````\n{CELL}\n````",
    "four backticks with a language": f"````markdown\n{CELL}\n````",
    "five around four": f"`````text\n````\n{CELL}\n````\n`````",
    "tildes": f"~~~\n{CELL}\n~~~",
    "tildes with blank lines": "~~~python\na = 1\n\n\nb = 2\n\n\n\nc = 3\n~~~",
    "a longer closing fence": f"````\n{CELL}\n``````",
    "indented": f"  ````\n{CELL}\n  ````",
    "a heading and a region inside": "````\n# Title\n\n\n<!-- #region -->\n````",
    "a fence that shows one of tildes": "````\n~~~\n\n```\n````",
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_a_fence_that_shows_another_stays_text_whole_and_swallows_no_cell_after_it(shown):
    notebook = from_markdown(f"Before.\n\n{shown}\n\nThen:\n\n{CELL}\n\nEnd.\n")
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"]
    assert notebook.cells[0].source == f"Before.\n\n{shown}\n\nThen:"
    assert notebook.cells[1].source == "total = 1"
    assert list(problems_of(f"{shown}\n\n{CELL}\n")) == []


@pytest.mark.parametrize(
    "cell",
    [
        '```python\ntext = """\n```\nno end\n```\n"""\n```',  # a fence within quotes
        "````python\ntext = 'a'\n````",  # as jupytext writes a cell that holds a fence
        "```python\n# it's a comment\nx = 1\n```",
        "```python tags=[]\nx = 1\n```",
    ],
)
def test_a_cell_ends_where_jupytext_ends_it_whatever_it_holds(cell):
    text = f"Before.\n\n{cell}\n\nBetween.\n\n````\n{CELL}\n````\n\n{CELL}\n"
    assert kinds(text) == ["markdown", "code", "markdown", "code"]
    assert list(problems_of(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"```text\nnever closed\n\n{CELL}\n",
            r"line 1 .*'```text'.* in which line 4 opens another \('```python'\)",
        ),
        (f"```\nno closing fence\n\nText.\n\n{CELL}\n\nEnd.\n", "in which line 6 opens another"),
        (f"Title\n\n````\n{CELL}\n\nText.\n", "line 3 .* that nothing closes"),
        (f"~~~\nx\n\n{CELL}\n", "line 1 .* that nothing closes"),
        ("```python\nx = 1\n", "line 1 .* that nothing closes"),
        ("- a list\n\n  ```python\n  x = 1\n  ```\n", "line 3 .* that is indented, and no cell"),
    ],
)
def test_a_cell_that_becomes_text_is_said_with_the_line_that_made_it_so(text, said):
    import re

    (problem,) = problems_of(text)
    assert re.search(said, problem)
