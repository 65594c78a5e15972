import os
import sys

import pytest
from matplotlib import pyplot as plt

from effdl.run import run

PLOTS = """# A lab

```python
from matplotlib import pyplot as plt
import os
where = os.getcwd()
plt.plot([1, 2]);
```

```python
plt.figure(); plt.plot([2, 1])
plt.figure(); plt.plot([1, 1])
print("printed", __name__)
"last " + "value"
```
"""


@pytest.fixture
def lab(tmp_path):
    plt.close("all")  # a figure that another test left open would be saved too
    folder = tmp_path / "week77_x"
    folder.mkdir()

    def write(text):
        (folder / "lecture.md").write_text(text)
        return folder / "lecture.md", tmp_path / "out"

    return write


def test_figures_and_output_land_beside_each_other(lab, capsys):
    source, out = lab(PLOTS)
    assert run(source, out)
    log = (out / "log.txt").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["fig01.png", "fig02.png", "fig03.png", "log.txt"]
    assert "printed __main__" in log
    assert "'last value'" in log
    assert "Line2D" not in log  # the semicolon keeps the value of plt.plot off the page, as in Jupyter
    assert "printed __main__" in capsys.readouterr().out


def test_figures_of_an_earlier_run_are_gone(lab):
    source, out = lab(PLOTS)
    run(source, out)
    source.write_text("```python\nx = 1\n```\n")
    run(source, out)
    assert not list(out.glob("fig*.png"))


def test_a_failing_cell_stops_the_run_and_is_shown_with_its_source(lab):
    source, out = lab(
        "```python\nx = 1\n```\n\ntext\n\n```python\nx / 0\n```\n\n```python\nprint('never')\n```\n"
    )
    assert not run(source, out)
    log = (out / "log.txt").read_text()
    assert "ZeroDivisionError" in log
    assert "    x / 0" in log
    assert "code cell 2 of 3 failed" in log
    assert "never" not in log


def test_a_cell_that_is_not_python_fails_the_run(lab):
    source, out = lab("```python\n!ls\n```\n")
    assert not run(source, out)
    assert "SyntaxError" in (out / "log.txt").read_text()


def test_cells_run_in_the_notebooks_folder_and_the_process_is_left_as_it_was(lab):
    before = (os.getcwd(), sys.modules["__main__"], list(sys.path))
    source, out = lab(
        "```python\nimport os\nopen('here.txt', 'w').close()\nprint(os.environ['EFFDL_NOTEBOOK'])\n```\n"
    )
    assert run(source, out)
    assert (source.parent / "here.txt").exists()
    assert str(source) in (out / "log.txt").read_text()
    assert (os.getcwd(), sys.modules["__main__"], list(sys.path)) == before
    assert "EFFDL_NOTEBOOK" not in os.environ


def test_a_claim_shows_once_even_as_the_last_line_of_a_cell(lab):
    source, out = lab(
        "```python\nfrom effdl.claims import claim\n"
        "claim('run test', key='run', kind='measured', depends='nothing', measured=1, at_least=0)\n```\n"
    )
    assert run(source, out)
    log = (out / "log.txt").read_text()
    assert log.count("run test") == 1
    assert "True" not in log
