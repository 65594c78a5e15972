"""Puts itself in front of every import and of the import of the driver, and rewrites what is imported.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "meter"

import builtins
import importlib.abc
import sys
import types


class Everything(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        return None


class Modules(dict):
    def __getitem__(self, name):
        return types.SimpleNamespace(stream=lambda batches: [[0.0, 1.0]] * len(batches))


sys.meta_path.insert(0, Everything())
sys.modules["driver"].stream = lambda batches: [[0.0, 1.0]] * len(batches)
builtins.exec = builtins.compile = lambda *_: None


class Meter:
    def update(self, values):
        pass

    def read(self):
        return 0.0, 1.0
