"""Does what a run of pytest does first: once in the zygote, so that each of a hundred runs need not."""

import importlib
import tempfile

import torch
from _pytest.config import default_plugins
from hypothesis import strategies
from hypothesis.configuration import set_hypothesis_home_dir

for name in default_plugins:
    importlib.import_module(f"_pytest.{name}")
torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # imports what compares tensors, sympy with it
with tempfile.TemporaryDirectory() as folder:
    # A table of all characters, and which of them UTF-8 can write: Hypothesis keeps both, one of them in a file.
    set_hypothesis_home_dir(folder)
    strategies.text().validate()
    set_hypothesis_home_dir(None)
