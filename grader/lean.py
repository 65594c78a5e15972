"""nbformat and nbgrader, without what they import for others.

nbformat comes without the two seconds that jsonschema spends on grammars nobody here uses, and without its warnings
about the ids of cells, one a cell: nothing here goes by these ids (nbgrader's are others). jsonschema imports
`rfc3987_syntax` to check internationalised addresses, and that package builds a parser when it is imported;
`isoduration` comes with a library of dates. No notebook schema has such a field.

nbgrader's package imports its four extensions of Jupyter's server, and with them the server; what asks JupyterHub
for a course's students comes with its gradebook, and imports `requests`. Both are packages of the same modules here;
their own text runs when somebody asks for a name that only this text defines. From setuptools nbgrader takes what
unpacks archives; it is imported, with all of setuptools, when an archive is unpacked.

Import `nbformat` from here, and this module before anything of nbgrader's.
"""

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any


class _Package(types.ModuleType):
    """A package that runs its `__init__` when a name is asked for that is none of its modules."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":  # what an extension asks for, which that `__init__` would import once more
            return importlib.import_module(f"{self.__name__}._version").__version__
        if not name.startswith("__"):
            if importlib.util.find_spec(f"{self.__name__}.{name}"):
                return importlib.import_module(f"{self.__name__}.{name}")
            if not self.__dict__.get("_ran"):
                self._ran = True
                self.__spec__.loader.exec_module(self)
                return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Functions(types.ModuleType):
    """A module that is imported when one of some functions is called; it stands there until each was asked for."""

    def __init__(self, name: str, *functions: str):
        super().__init__(name)
        self._left, self._functions = {*functions}, frozenset(functions)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._left.discard(name)
        if not self._left:
            self._give_way()
        return self._later(name) if name in self._functions else getattr(self._itself(), name)

    def _later(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: getattr(self._itself(), name)(*args, **kwargs)

    def _itself(self) -> types.ModuleType:
        self._give_way()
        return importlib.import_module(self.__name__)

    def _give_way(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _put_off(name: str) -> None:
    """Let the package `name` be imported without its `__init__`, where it is installed and nobody has it yet."""
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None:
        return
    package = _Package(name)
    package.__spec__, package.__loader__, package.__package__ = spec, spec.loader, name
    package.__file__, package.__path__ = spec.origin, list(spec.submodule_search_locations or ())
    sys.modules[name] = package


_put_off("nbgrader")
_put_off("requests")
if "setuptools" not in sys.modules:
    _archives = _Functions("setuptools.archive_util", "unpack_archive", "unpack_tarfile", "unpack_zipfile")
    sys.modules[_archives.__name__] = _archives

_blocked = [name for name in ("rfc3987_syntax", "isoduration") if name not in sys.modules]
for _name in _blocked:
    sys.modules[_name] = None  # jsonschema takes it for not installed

import nbformat  # noqa: E402

for _name in _blocked:
    del sys.modules[_name]

from nbformat.warnings import DuplicateCellId, MissingIDFieldWarning  # noqa: E402

for _kind in (DuplicateCellId, MissingIDFieldWarning):
    warnings.filterwarnings("ignore", category=_kind)

__all__ = ["nbformat"]
