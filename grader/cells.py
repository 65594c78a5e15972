"""Runs the cells of a notebook in one IPython namespace, inside the sandboxed worker.

The outputs are those that nbclient would have collected from a kernel, without the kernel: no second
process, no sockets, no threads. Cells and tests share one interpreter here, so whatever it reports can be
forged by the cells; the examiner treats it so.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        try:
            text = str(evalue)
        except Exception as second:  # a __str__ of the student's own
            text = f"(its message cannot be read: {type(second).__name__})"
        self.outputs.error(str(etype.__name__), text, stb)


def _new_shell(outputs: Outputs) -> _Shell:
    config = Config()
    config.HistoryManager.enabled = False  # no database and no thread that saves to it
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.separate_in = ""
    _Shell.clear_instance()
    _Shell.outputs = outputs
    return _Shell.instance(config=config, displayhook_class=_Hook, display_pub_class=_Publisher)


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


def run_cells(
    cells: list[dict[str, str]], emit: Callable[[dict[str, Any]], None], wall_per_cell: float
) -> None:
    """Execute `cells` ({"source", "cell_id"}) in order, an error in one not stopping the next.

    `emit({"index": i, "outputs": [...]})` is called after each cell with nbformat outputs as plain
    dictionaries, so that a process that dies in cell k has already delivered the cells before it. A cell is
    interrupted after `wall_per_cell` seconds, as nbclient interrupts a kernel; one that swallows every
    interrupt is for the examiner to kill.
    """
    os.environ["NBGRADER_EXECUTION"] = "autograde"
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    streams = sys.stdin, sys.stdout, sys.stderr
    with _files_behind_the_streams() as files:
        outputs = Outputs(files)
        shell = _new_shell(outputs)
        try:
            for index, cell in enumerate(cells):
                outputs.start()
                sys.stdin = io.StringIO()
                sys.stdout, sys.stderr = _Stream(outputs, "stdout", 1), _Stream(outputs, "stderr", 2)
                _run_cell(shell, cell, outputs, wall_per_cell)
                outputs.drain()
                emit({"index": index, "outputs": outputs.items})
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            _Shell.clear_instance()


def _run_cell(shell: _Shell, cell: dict[str, str], outputs: Outputs, wall: float) -> None:
    # The handler is a built-in, so that no frame of this file appears in the student's traceback.
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, wall, _REPEAT)
        result = shell.run_cell(cell["source"], store_history=True, cell_id=cell["cell_id"])
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
