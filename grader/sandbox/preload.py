"""What a zygote may import ahead of its workers: found out in forks of it, which import and are looked at.

Every worker is a copy of the zygote. So a module is imported there only where it and all that it needs are installed
with this Python, and its import leaves nothing behind that a fork would share or break: no thread, no descriptor, no
child, no shared memory, no mapped device. One that prints, or looks for the notebook's shell, is left to the
notebook, where it does so again.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import importlib
import importlib.util
import os
import re
import signal
import site
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NoReturn

MOST = 5000  # modules
SECONDS = 300  # for one trial; only to end what hangs

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*", re.ASCII)
_MOST_TRIALS = 12
_OURS = os.path.join(os.path.realpath(os.path.dirname(os.path.dirname(__file__))), "")
_ahead: dict[str, None] = {}  # what `load` has imported, in its order


def names(modules: Sequence[str]) -> list[str]:
    """Return those of `modules` that can be names of modules, up to MOST of them."""
    return [name for name in modules if _NAME.fullmatch(name)][:MOST]


def imported_since(known: set[str], packages: Set[str] = frozenset()) -> list[str]:
    """Return the installed modules that this process has imported since its `sys.modules` had the names `known`.

    What was imported ahead for somebody else counts where it is of one of these `packages`, see `noting_imports`.
    """
    new = [
        name for name in sys.modules if name not in known or (name in _ahead and _package(name) in packages)
    ]
    installed = (name for name in names(new) if _is_installed(getattr(sys.modules[name], "__spec__", None)))
    return list(installed)


@contextlib.contextmanager
def noting_imports() -> Iterator[set[str]]:
    """Yield a set that gets the package of all that is imported meanwhile, for the first time or again."""
    found: set[str] = set()
    before = builtins.__import__

    def noting(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        found.add(_package((globals or {}).get("__package__") or "" if level else name))
        return before(name, globals, locals, fromlist, level)

    builtins.__import__ = noting
    try:
        yield found
    finally:
        builtins.__import__ = before


def _package(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def _folders() -> tuple[str, ...]:
    """Return the folders of the standard library and of installed packages, each with a slash at its end."""
    paths = sysconfig.get_paths()
    found = [paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")] + site.getsitepackages()
    return tuple({os.path.realpath(folder) + os.sep for folder in found})


def _is_installed(spec: Any) -> bool:
    """Return whether a module comes from this Python or its packages, and from no other folder."""
    if spec is None:
        return False
    if spec.has_location and isinstance(spec.origin, str):
        return os.path.realpath(spec.origin).startswith(_folders())
    # A package that is a folder without __init__.py, or several.
    places = list(spec.submodule_search_locations or ()) if spec.origin is None else []
    return bool(places) and all((os.path.realpath(place) + os.sep).startswith(_folders()) for place in places)


def _is_ours(spec: Any) -> bool:
    """Return whether a module is one of the grader's, which need not be installed: a clone is enough."""
    return spec is not None and os.path.realpath(spec.origin or "").startswith(_OURS)


def _is_elsewhere(module: Any) -> bool:
    spec = getattr(module, "__spec__", None)
    return spec is not None and spec.has_location and not _is_installed(spec) and not _is_ours(spec)


def _import(name: str) -> None:
    """Import an installed module or one of ours, its packages first.

    Raises ImportError where one is not there, or elsewhere.
    """
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if module in sys.modules:
            continue
        spec = importlib.util.find_spec(module)
        if not _is_installed(spec) and not _is_ours(spec):
            raise ImportError(f"{module} is not installed with this Python")
        importlib.import_module(module)


def load(modules: Sequence[str]) -> None:
    """Import modules in the zygote, as far as they are there; raises OSError where one leaves something behind."""
    before, known = _left(), set(sys.modules)
    with _settings():
        for module in modules:
            with contextlib.suppress(ImportError):
                _import(module)
    if what := _difference(before, known):
        raise OSError(f"the modules imported ahead of workers left {what}")
    _ahead.update(dict.fromkeys(name for name in sys.modules if name not in known))
    gc.collect()
    gc.freeze()


def give_way(folder: str) -> None:
    """Forget what was imported ahead and what a module in this folder, first on the path, has the name of."""
    with os.scandir(folder) as entries:
        own = {
            entry.name.removesuffix(".py")
            for entry in entries
            if entry.name.endswith(".py") or os.path.isfile(f"{entry.path}/__init__.py")
        }
    for name in [name for name in _ahead if _package(name) in own]:
        sys.modules.pop(name, None)


def safe(modules: Sequence[str]) -> list[str]:
    """Return those of `modules` that `load` may import, in an order in which what others need comes first.

    A package is taken whole or not at all. Costs one fork and the time of all these imports, and as much again for
    every package that is not taken.
    """
    packages: dict[str, list[str]] = {}
    for name in names(modules):
        packages.setdefault(_package(name), []).append(name)
    # What was imported last was needed by what came before.
    left = dict(reversed(packages.items()))
    for _ in range(_MOST_TRIALS if sys.platform == "linux" else 0):
        bad = _first_bad(left)
        if bad is None:
            return [name for wanted in left.values() for name in wanted]
        del left[bad]
    return []


def _first_bad(packages: dict[str, list[str]]) -> str | None:
    """Import packages in a fork until one leaves something behind, breaks or hangs; return it, None for none."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        try:
            _try_out(packages, theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours, "rb") as told:
        begun = told.read().decode().split()
    os.waitpid(pid, 0)
    return None if begun[-1:] == ["."] else begun[-1] if begun else next(iter(packages))


def _try_out(packages: dict[str, list[str]], told: int) -> NoReturn:
    """Write the name of each package before it is tried, and a full stop after the last; end at the first bad one."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    printed = tempfile.TemporaryFile()  # noqa: SIM115, this process ends with it
    for stream in (1, 2):
        os.dup2(printed.fileno(), stream)
    asked = _watch_the_shell()
    with _settings():
        before = _left()
        for package, wanted in packages.items():
            os.write(told, package.encode() + b"\n")
            known = set(sys.modules)
            for name in wanted:
                _import(name)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            if _difference(before, known) or asked or os.fstat(printed.fileno()).st_size:
                os._exit(1)
    os.write(told, b".\n")
    os._exit(0)


def _watch_the_shell() -> list[bool]:
    """Return a list that is no longer empty when somebody has looked for IPython's shell."""
    asked: list[bool] = []
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is not None:
        initialized = module.InteractiveShell.initialized
        module.InteractiveShell.initialized = lambda: bool(asked.append(True)) or initialized()
    return asked


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    # What notebooks show their figures with, chosen when matplotlib is imported, and a folder for its cache.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]


def _left() -> dict[str, Any]:
    """Return what this process has that a fork would share with it, or miss."""
    if sys.platform != "linux":
        return {}
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        maps = [line.split(None, 5) for line in file]
    return {
        "a thread": len(os.listdir("/proc/self/task")) > 1,
        "a descriptor": len(os.listdir("/proc/self/fd")),
        "a mapped device": {where[5] for where in maps if where[5:] and where[5].startswith("/dev/")},
        "shared memory": _shared() if any(where[1][3] == "s" for where in maps) else set(),
        "a child process": _has_children(),
        "a change of folder": os.getcwd(),
        "a handler of signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "a timer": signal.getitimer(signal.ITIMER_REAL)[1],
    }


def _shared() -> set[str]:
    """Return the addresses of memory that forks of this process share and could write to."""
    found, place = set(), ""
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            first, *rest = line.split()
            if first == "VmFlags:" and {"ms", "mw"} <= {*rest}:
                found.add(place)
            elif not first.endswith(":"):
                place = first
    return found


def _difference(before: dict[str, Any], known: set[str]) -> str:
    """Return what is left now that was not there, the empty string for nothing; threads may take a second to end.

    Nor may a module come from elsewhere that is not one of the `known`.
    """
    for _ in range(100):
        now = _left()
        if not now.get("a thread"):
            break
        time.sleep(0.01)
    found = [what for what in now if now[what] != before[what]]
    elsewhere = sorted(name for name in sys.modules.keys() - known if _is_elsewhere(sys.modules[name]))
    return ", ".join(found + [f"the module {name} of another folder" for name in elsewhere])


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
