"""torch, imported by whoever first asks it for something.

A class of plain notebooks is graded without one tensor in the examiner; the two seconds of the import would be
most of what the examiner itself costs. `from grader.later import torch`.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any


class _Later(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch as torch
else:
    torch = sys.modules.get("torch") or _Later("torch")
