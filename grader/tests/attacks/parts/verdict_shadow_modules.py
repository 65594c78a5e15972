"""Hands in torch.py, random.py, numpy.py, json.py, driver.py, sitecustomize.py, conftest.py, a .pth and a grader/.

Must: earn nothing; what the examiner imports does not come from a submission.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"
LIE = "import sys\nsys.stdout.write('shadow')\ndef __getattr__(name):\n    return lambda *a, **k: True\n"
FILES = {
    "torch.py": "def __getattr__(name):\n    return lambda *a, **k: True\n",
    "numpy.py": "def __getattr__(name):\n    return lambda *a, **k: True\n",
    "random.py": "def __getattr__(name):\n    return lambda *a, **k: 4\n",
    "json.py": "def loads(*_): return {}\ndef dumps(*_): return '{}'\n",
    "driver.py": "def stream(batches): return []\n",
    "sitecustomize.py": "raise SystemExit(0)\n",
    "usercustomize.py": "raise SystemExit(0)\n",
    "conftest.py": "raise SystemExit(0)\n",
    "pytest.py": "raise SystemExit(0)\n",
    "evil.pth": "import os; os._exit(0)\n",
    "grader/__init__.py": "raise SystemExit(0)\n",
    "grader/checks.py": "def expect_close(*_, **__): pass\ndef check(**_): return lambda f: f\n",
    "effdl/__init__.py": "raise SystemExit(0)\n",
    "part1_hidden.py": "raise SystemExit(0)\n",
    "checks/part1_public.py": "raise SystemExit(0)\n",
    "checks/part1_hidden.py": "raise SystemExit(0)\n",
    "course.toml": "[course]\nname = 'mine'\n",
}

import importlib
import sys

for name in ("torch", "numpy", "random", "json", "grader.checks"):
    sys.modules.pop(name, None)


def softmax(x, dim):
    return importlib.import_module("torch").zeros_like(x)
