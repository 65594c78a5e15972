"""Which modules of a reference workers may have from the start: what students cannot know must not show in them."""

import pytest

from grader.bench import plain_notebooks
from grader.notebooks.ahead import modules_of

NOTEBOOK = """
```python
%matplotlib inline
import shown
```

```python solution="square"
import stub
def square(n):
    ### BEGIN SOLUTION
    import secret_of_the_solution, shown.deeper, later.part, torch.fx
    __import__("secret_when_called")
    return n * n
    ### END SOLUTION
```

```python test="first"
%time import later
assert square(7) == 49
```

```python test="calls"
assert square(8) == 64
```

```python test="second"
!ls
import later, again
### BEGIN HIDDEN TESTS
import secret_of_the_test
### END HIDDEN TESTS
```
"""
IMPORTED = [
    ["shown", "shown.deep"],
    ["stub.part", "secret_of_the_solution", "shown.deeper", "later", "later.part", "torch.fx", "again.part"],
    ["asked"],
    ["secret_when_called", "secret_below_it", "again.when_called"],
    ["secret_of_the_test", "stub.other"],
]


@pytest.fixture
def given():
    plain = plain_notebooks.parse("hidden", NOTEBOOK)
    cells = [cell for cell in plain.source.cells if cell.cell_type == "code"]
    return plain.template(), cells


def test_of_what_is_hidden_no_package_shows_that_students_do_not_read_of(given):
    found = modules_of(*given, IMPORTED)
    assert not [name for name in found if "secret" in name]
    assert found[:3] == ["shown", "shown.deep", "asked"]


def test_what_a_cell_imports_that_students_read_is_there_though_a_solution_was_the_first_to_import_it(given):
    found = set(modules_of(*given, IMPORTED))
    assert found >= {
        "later",
        "later.part",
        "again.part",
        "torch.fx",
        "shown.deeper",
        "stub.part",
        "stub.other",
    }
