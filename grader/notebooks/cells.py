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
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

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

_SET = {"NBGRADER_EXECUTION": "autograde", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}

MAX_TEXT = 1 << 20  # characters of streams and tracebacks that one cell may keep
MAX_DATA = 8 << 20  # characters of pictures and tables that one cell may keep
_TRUNCATED = "\n... output truncated ...\n"
_TWIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "twin", "")
_REPEAT = 1.0  # seconds between interrupts of a cell that swallows the first


class Outputs:
    """The outputs of the cell that runs, in order, within the limits."""

    def __init__(self, files: list[Any]) -> None:
        self.files = files  # behind descriptors 1 and 2
        self.start()

    def start(self) -> None:
        self.items: list[Output] = []
        self.text, self.data = 0, 0

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


class _Hook(DisplayHook):
    def write_output_prompt(self) -> None:
        """No prompt: the number of the cell stands in the output itself."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        self.shell.outputs.rich(
            "execute_result", format_dict, md_dict or {}, execution_count=self.prompt_count
        )


class _Publisher(DisplayPublisher):
    def publish(self, data: dict[str, Any], metadata: dict[str, Any] | None = None, **_: Any) -> None:
        self.shell.outputs.rich("display_data", data, metadata or {})

    def clear_output(self, wait: bool = False) -> None:
        self.shell.outputs.start()


class _Shell(InteractiveShell):
    outputs: Outputs

    def enable_gui(self, gui: str | None = None) -> None:
        """Accept `%matplotlib inline`: pictures reach the publisher without an event loop."""

    def ask_exit(self) -> None:
        """Ignore `exit()`: the cells after it still count."""

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        kind, error, trace = super()._get_exc_info(exc_tuple)
        return kind, error, _without_the_grader(trace)

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        try:
            text = str(evalue)
        except Exception as second:  # a __str__ of the student's own
            text = f"(its message cannot be read: {type(second).__name__})"
        self.outputs.error(str(etype.__name__), text, stb)


def _without_the_grader(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Leave out the frames through which a test asked the student's interpreter."""
    if trace is None:
        return None
    rest = _without_the_grader(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(_TWIN):
        return rest
    return types.TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def _new_shell(outputs: Outputs) -> _Shell:
    global _ready
    ready, _ready = _ready or _prepare(), None
    _Shell.clear_instance()
    _Shell.outputs = outputs
    for above in _Shell._walk_mro():
        above._instance = ready.shell
    sys.modules.update(ready.modules)
    vars(builtins).update(ready.builtins)
    return ready.shell


@dataclass
class _Ready:
    """A shell that no cell has seen, and what its making does to a process."""

    shell: _Shell
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
    shell = _Shell(config=config, displayhook_class=_Hook, display_pub_class=_Publisher)
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
    for name in _SET:
        os.environ.pop(name, None)


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
        os.environ.update(_SET)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._open = contextlib.ExitStack()
        self.outputs = Outputs(self._open.enter_context(_files_behind_the_streams()))
        self.shell = _new_shell(self.outputs)
        self.names: dict[str, Any] = self.shell.user_ns
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        _Shell.clear_instance()
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
        _run_cell(self.shell, source, cell_id, self.outputs, wall)
        return self.heard()


def run_cells(cells: list[dict[str, Any]], emit: Callable[[dict[str, Any]], None]) -> None:
    """Execute `cells` ({"source", "cell_id", "wall"}) in order, an error in one not stopping the next.

    `emit({"index": i, "outputs": [...], "seconds": wall time})` is called after each cell, so that a process
    that dies in cell k has already delivered the cells before it.
    """
    with Notebook() as notebook:
        for index, cell in enumerate(cells):
            started = time.monotonic()
            outputs = notebook.run(cell["source"], cell["cell_id"], cell["wall"])
            emit({"index": index, "outputs": outputs, "seconds": time.monotonic() - started})


def _run_cell(shell: _Shell, source: str, cell_id: str, outputs: Outputs, wall: float) -> None:
    # The handler is a built-in, so that no frame of this file appears in the student's traceback.
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, wall, _REPEAT)
        result = shell.run_cell(source, store_history=True, cell_id=cell_id)
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
