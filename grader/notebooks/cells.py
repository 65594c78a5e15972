"""Runs the cells of a notebook in one IPython namespace, inside the sandboxed worker.

The outputs are those that nbclient would have collected from a kernel, without the kernel: no second
process, no sockets, no threads. Cells and tests share one interpreter here, so whatever it reports can be
forged by the cells; the examiner treats it so.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import importlib
import io
import logging
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from traitlets.config import Config

from grader.notebooks.twin.kernel import ZMQInteractiveShell, set_environment
from grader.notebooks.twin.loop import Loop
from grader.sandbox import preload

# IPython imports these when it first runs a cell or shows an error. Here the zygote does, once for all workers.
for _name in (
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.crashhandler",
    "IPython.core.logger",
    "IPython.core.magics",
    "IPython.core.oinspect",
    "pygments.formatters.terminal256",
    "pygments.plugin",
    "stack_data.serializing",
):
    importlib.import_module(_name)

Output = dict[str, Any]

_SET = {
    "NBGRADER_EXECUTION": "autograde",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # A line `!pip install` says at once that there is no network.
    "PIP_RETRIES": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}

MAX_TEXT = 1 << 20  # characters of streams and tracebacks that one cell may keep
MAX_DATA = 8 << 20  # characters of pictures and tables that one cell may keep
_TRUNCATED = "\n... output truncated ...\n"
_REPEAT = 1.0  # seconds between interrupts of a cell that swallows the first


class Outputs:
    """The outputs of the cell that runs, in order, within the limits."""

    def __init__(self, files: list[Any]) -> None:
        self.files = files  # behind descriptors 1 and 2
        self.start()

    def start(self) -> None:
        self.items: list[Output] = []
        self.text, self.data = 0, 0
        self._shown: dict[str, list[Output]] = {}  # by the name under which it may be replaced

    def stream(self, name: str, text: str) -> None:
        room = MAX_TEXT - self.text
        if not text or room <= 0:
            return
        self.text += len(text)
        if len(text) > room:
            text = text[:room] + _TRUNCATED
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += text
        else:
            self.items.append({"output_type": "stream", "name": name, "text": text})

    def drain(self) -> None:
        """Take over what C code and child processes have printed so far."""
        for name, file in zip(("stdout", "stderr"), self.files, strict=True):
            if os.fstat(file.fileno()).st_size:
                text = os.pread(file.fileno(), MAX_TEXT, 0).decode("utf-8", "replace")
                # The offset is shared with whoever printed: start it over together with the file.
                os.ftruncate(file.fileno(), 0)
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                self.stream(name, text)

    def rich(self, kind: str, data: dict[str, Any], metadata: dict[str, Any], **more: Any) -> None:
        self.drain()
        data = {mime: _plain(value) for mime, value in data.items()}
        size = sum(len(str(value)) for value in data.values())
        if self.data + size > MAX_DATA:
            self.stream("stdout", _TRUNCATED)
            return
        self.data += size
        self.items.append({"output_type": kind, "data": data, "metadata": metadata or {}, **more})

    def display(
        self, data: dict[str, Any], metadata: dict[str, Any], name: str | None, *, update: bool
    ) -> None:
        """Show something, or with `update` show it in place of what this cell shows under the name."""
        known = self._shown.setdefault(name or "", [])
        count = len(self.items)
        self.rich("display_data", data, metadata)
        if len(self.items) == count or self.items[-1]["output_type"] != "display_data":
            return  # there was no room
        if not update:
            known.append(self.items[-1])
            return
        new = self.items.pop()
        for item in known:
            self.data -= sum(len(str(value)) for value in item["data"].values())
            item.update(new)

    def error(self, name: str, value: str, traceback: list[str]) -> None:
        room = MAX_TEXT // 4
        traceback = [line[:room] for line in traceback[-200:]]
        self.items.append(
            {"output_type": "error", "ename": name, "evalue": value[:room], "traceback": traceback}
        )

    def has_error(self) -> bool:
        return any(item["output_type"] == "error" for item in self.items)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


class _Stream(io.TextIOBase):
    """What `print` writes to."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, outputs: Outputs, name: str, descriptor: int) -> None:
        self.outputs, self.kind, self.descriptor = outputs, name, descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.outputs.stream(self.kind, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor


def _new_shell(outputs: Outputs) -> ZMQInteractiveShell:
    global _ready
    ready, _ready = _ready or _prepare(), None
    ZMQInteractiveShell.clear_instance()
    ZMQInteractiveShell.outputs = outputs
    for above in ZMQInteractiveShell._walk_mro():
        above._instance = ready.shell
    sys.modules.update(ready.modules)
    vars(builtins).update(ready.builtins)
    return ready.shell


@dataclass
class _Ready:
    """A shell that no cell has seen, and what its making does to a process."""

    shell: ZMQInteractiveShell
    modules: dict[str, types.ModuleType]
    builtins: dict[str, Any]


_ready: _Ready | None = None


def _prepare() -> _Ready:
    """Make a shell and leave the process as it was."""
    config = Config()
    config.HistoryManager.enabled = False  # no database and no thread that saves to it
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.separate_in = ""
    modules, known = sys.modules.copy(), vars(builtins).copy()
    shell = ZMQInteractiveShell(config=config)
    ready = _Ready(shell, {"__main__": sys.modules["__main__"]}, {})
    sys.modules["__main__"] = modules["__main__"]
    for name in vars(builtins).keys() - known.keys():
        ready.builtins[name] = vars(builtins).pop(name)
    return ready


def warm_up() -> None:
    """Show a result and an error once, and lay a shell ready: in the zygote, for every worker.

    A shell takes as long to make as a worker to fork, and the first error as long again.
    """
    global _ready
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        with Notebook() as notebook:
            for source in ("1", "raise ValueError"):
                notebook.run(source, "warm-up", 60)
        _ready = _prepare()
        del os.environ["IPYTHONDIR"]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _put_back(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _is_of_the_cell(record: logging.LogRecord) -> bool:
    """Return whether a warning of matplotlib's is about more than its cache, which each sandbox builds anew.

    At home it is there already; here, on a machine of many fonts, the first plot would cost a test its points.
    """
    return "building the font cache" not in record.getMessage()


@contextlib.contextmanager
def _files_behind_the_streams() -> Iterator[list[Any]]:
    """Point descriptors 1 and 2 to files, for what C code and child processes print."""
    files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115, closed below
    saved = [os.dup(1), os.dup(2)]
    try:
        for descriptor, file in enumerate(files, 1):
            os.dup2(file.fileno(), descriptor)
        yield files
    finally:
        for descriptor, old in enumerate(saved, 1):
            os.dup2(old, descriptor)
            os.close(old)
        for file in files:
            file.close()


class Notebook:
    """One IPython namespace, and the outputs of the cells that have run in it. Use it as a context manager."""

    def __enter__(self) -> Notebook:
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._open = contextlib.ExitStack()
        self._open.callback(_put_back, dict(os.environ))
        # A line `!python` means this Python.
        programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        os.environ.update(_SET, PATH=programs)
        logging.getLogger("matplotlib.font_manager").addFilter(_is_of_the_cell)
        self.outputs = Outputs(self._open.enter_context(_files_behind_the_streams()))
        self.shell = _new_shell(self.outputs)
        set_environment(self.shell)
        self.loop = Loop()
        self._open.callback(self.loop.close)
        self.names: dict[str, Any] = self.shell.user_ns
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        ZMQInteractiveShell.clear_instance()
        self._open.close()

    def listen(self) -> None:
        """Start the outputs over, and point the standard streams to them."""
        self.outputs.start()
        sys.stdin = io.StringIO()
        sys.stdout, sys.stderr = _Stream(self.outputs, "stdout", 1), _Stream(self.outputs, "stderr", 2)

    def heard(self) -> list[Output]:
        """Return the outputs since `listen`."""
        self.outputs.drain()
        return self.outputs.items

    def run(self, source: str, cell_id: str, wall: float) -> list[Output]:
        """Execute one cell and return its outputs as nbformat's plain dictionaries; an error is one of them.

        The cell is interrupted after `wall` seconds, as nbclient interrupts a kernel; one that swallows every
        interrupt is for the examiner to kill.
        """
        self.listen()
        _run_cell(self.shell, self.loop, source, cell_id, self.outputs, wall)
        return self.heard()


def run_cells(
    cells: list[dict[str, Any]], emit: Callable[[dict[str, Any]], None], report: bool = False
) -> None:
    """Execute `cells` ({"source", "cell_id", "wall"}) in order, an error in one not stopping the next.

    `emit({"index": i, "outputs": [...], "seconds": wall time})` is called after each cell, so that a process
    that dies in cell k has already delivered the cells before it. With `report`, "modules" are the installed ones
    that this cell was the first to import.
    """
    with Notebook() as notebook:
        for index, cell in enumerate(cells):
            with preload.noting_imports() if report else contextlib.nullcontext() as packages:
                known, started = set(sys.modules), time.monotonic()
                outputs = notebook.run(cell["source"], cell["cell_id"], cell["wall"])
            message = {"index": index, "outputs": outputs, "seconds": time.monotonic() - started}
            if packages is not None:
                message["modules"] = preload.imported_since(known, packages)
            emit(message)


def _run_cell(
    shell: ZMQInteractiveShell, loop: Loop, source: str, cell_id: str, outputs: Outputs, wall: float
) -> None:
    # The handler is a built-in, so that no frame of this file appears in the student's traceback.
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, wall, _REPEAT)
        result = loop.run(shell.run_as_a_kernel_does(source, cell_id))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        # It struck outside the student's code, while IPython printed the traceback of the first.
        signal.setitimer(signal.ITIMER_REAL, 0)
        outputs.error("KeyboardInterrupt", "", ["KeyboardInterrupt"])
    else:
        error = result.error_before_exec or result.error_in_exec
        if error and not outputs.has_error():
            outputs.error(type(error).__name__, "", [type(error).__name__])
    if time.monotonic() - started >= wall:
        sentence = f"the cell ran longer than {wall:g} s and was interrupted"
        outputs.error("CellTimeoutError", sentence, [f"CellTimeoutError: {sentence}"])
