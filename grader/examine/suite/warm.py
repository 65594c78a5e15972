"""Imports what a run of pytest needs: once in the zygote, so that each of a hundred runs need not."""

import importlib

import hypothesis  # noqa: F401 - the profile is set in each run
import torch
from _pytest.config import default_plugins

for name in default_plugins:
    importlib.import_module(f"_pytest.{name}")
torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # imports as much
