"""Workers of a zygote that has not imported torch: what crosses is the same, whoever imports it, and when."""

import pytest

from grader.bench import plain_notebooks
from grader.examine.examiner import Examiner
from grader.notebooks import NOTEBOOK
from grader.runners.local import zygote_for
from grader.sandbox.zygote import Zygote
from grader.tests.notebooks.test_twin import HONEST, Run, one

WALL = 120.0  # seconds of a cell, in which two workers import torch beside others


@pytest.fixture(scope="module")
def bare():
    """An examiner whose workers have no torch from the start."""
    with Examiner("namespaces", zygote=Zygote(programs=NOTEBOOK, torch=False)) as examiner:
        yield examiner


def verdict(examiner, solution, test):
    """Run one test of a notebook that imports nothing; return (verdict, outputs as text)."""
    text = f'```python solution="s"\n{solution}\n```\n\n```python test="t"\n{test}\n```\n'
    plain = plain_notebooks.parse("one", text)
    run = Run(examiner, plain, plain.source, wall=WALL)
    return run.verdicts["t"], run.text("t")


def test_no_worker_imports_torch_for_work_that_does_not(bare):
    solution = "import sys\nimport numpy as np\ndef f(x): return np.cumsum(x), 'torch' in sys.modules"
    test = """
import random
import sys
import numpy as np
np.random.seed(1)
random.seed(1)
total, has = f(np.arange(4.))
assert total.tolist() == [0, 1, 3, 6] and total.dtype == np.float64
assert has is False and 'torch' not in sys.modules
"""
    assert verdict(bare, solution, test)[0] == "passed"


SEEDED = """
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = torch.nn.Linear(2, 3)
    def forward(self, x): return self.lin(x)
------
net = Net()
assert isinstance(net, torch.nn.Module)
assert net(torch.ones(4, 2)).shape == torch.Size([4, 3])
======
def f(shape, dtype, device): return torch.zeros(shape, dtype=dtype, device=device)
------
found = f(torch.Size([2, 3]), torch.float64, torch.device('cpu'))
assert found.shape == (2, 3) and found.dtype is torch.float64 and found.device.type == 'cpu'
======
def f(): return torch.rand(3)
------
torch.manual_seed(7)
a = f()
torch.manual_seed(7)
assert torch.equal(a, torch.rand(3))
======
def f(): return torch.get_num_threads()
------
assert f() == torch.get_num_threads() == 1
======
def f(x): x += 1
------
x = torch.zeros(2)
f(x)
assert (f(x) is None) and torch.Tensor is type(x)"""
TORCH = [case for case in HONEST.split("\n======\n") if "torch." in case] + SEEDED.split("\n======\n")


@pytest.mark.parametrize("case", TORCH)
def test_tensors_cross_where_workers_import_torch_themselves(bare, case):
    solution, _, test = case.partition("\n------\n")
    found, text = one(bare, solution, test, wall=WALL)
    assert found == "passed", text


def test_a_student_alone_may_use_torch(bare):
    solution = "import torch\ndef f(): return torch.arange(3.) * 2"
    found, text = verdict(bare, solution, "assert f().tolist() == [0, 2, 4]")
    assert found == "passed", text


def test_what_a_test_seeds_as_it_imports_torch_is_told_to_the_student(bare):
    solution = "def f():\n    import torch\n    return torch.rand(2).tolist()"
    test = "import torch\ntorch.manual_seed(3)\na = f()\ntorch.manual_seed(3)\nassert a == torch.rand(2).tolist()"
    found, text = verdict(bare, solution, test)
    assert found == "passed", text


@pytest.mark.parametrize(
    ("solution", "test"),
    [
        (
            "import torch\ntorch.manual_seed(0)\ndef f(): return torch.rand(2)",
            "f()\nassert abs(float(f()[0]) - 0.0885) < 1e-4",
        ),
        (
            "import torch\ndef f(): return torch.rand(4)",
            "first = f()\nimport torch\nassert not torch.equal(torch.rand(4), f())",
        ),
    ],
)
def test_what_torch_begins_with_on_one_side_is_not_told_to_the_other(bare, solution, test):
    found, text = verdict(bare, solution, test)
    assert found == "passed", text


@pytest.mark.parametrize(
    "stub", ["None", "types.ModuleType('torch')", "unittest.mock.MagicMock()", "type('T', (), {})()"]
)
def test_what_only_has_the_name_of_torch_is_none(bare, examiner, stub):
    solution = f"import sys, types, unittest.mock\nsys.modules['torch'] = {stub}\n"
    solution += (
        "class A:\n    def __init__(self, x): self.x = x\ndef kind(): return A\ndef f(x): return [A(x), {x}]"
    )
    test = "import sys, unittest.mock\nwith unittest.mock.patch.dict(sys.modules, {'torch': None}):\n"
    test += "    one, x = f(3)\n    assert one.x == 3 and x == {3} and kind()(4).x == 4"
    for either in (bare, examiner):
        found, text = verdict(either, solution, test)
        assert found == "passed", text


@pytest.mark.parametrize("text", ["import numpy", "from torch import nn", None])
def test_a_zygote_begins_with_torch_where_notebooks_may_use_it(tmp_path, text):
    folder = tmp_path / "source" / "ps1"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "p1.ipynb").write_text(text)
    assert zygote_for(tmp_path, "ps1")["torch"] is (text != "import numpy")
    (folder / ".#p1.ipynb").symlink_to("nobody@nowhere")  # of an editor, which has no end
    (folder / "helpers.py").mkdir()
    (folder / "helpers.py" / "net.py").write_text("import torch")
    assert zygote_for(tmp_path, "ps1")["torch"]
    (tmp_path / "course.toml").touch()
    assert "torch" not in zygote_for(tmp_path, "ps1")  # of parts it always does
