"""The reader of exercises finds what a notebook prints, and refuses what is incomplete."""

import pytest

from effdl.exercises import exercises

TEXT = """# A page

### A. Double it (easy, 5 minutes)

```python
def double(number):
    raise NotImplementedError


check_exercise("A", double, [((2,), 4)])
```

<details><summary>Hint</summary>Add.</details>

<details><summary>Solution</summary>

~~~python
def double(number):
    return OFFSET + number + number
~~~
</details>

### B. Think (open, 30 minutes)

<details><summary>Hint</summary>Hm.</details>
<details><summary>Solution</summary>It depends.</details>
"""


@pytest.fixture
def page(tmp_path):
    def write(text):
        path = tmp_path / "page.md"
        path.write_text(text)
        return path

    return write


def test_solution_is_checked_by_the_printed_check_with_the_given_names(page):
    first, second = exercises(page(TEXT))
    assert not first.verdict({"OFFSET": 0}, solved=False)
    assert first.verdict({"OFFSET": 0}, solved=True)
    assert not first.verdict({"OFFSET": 1}, solved=True)
    assert (second.cell, second.solution) == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(easy, 5 minutes)", "(5 minutes)", "end the heading with a difficulty"),
        ("<summary>Hint</summary>Hm.", "", "one hint and one solution"),
    ],
)
def test_an_incomplete_exercise_is_named(page, old, new, message):
    with pytest.raises(ValueError, match=message):
        exercises(page(TEXT.replace(old, new)))


def test_a_cell_without_a_check_is_refused(page):
    text = TEXT.replace('check_exercise("A", double, [((2,), 4)])', "double")
    with pytest.raises(ValueError, match="calls check_exercise 0 times"):
        exercises(page(text))[0].verdict({"OFFSET": 0}, solved=True)
