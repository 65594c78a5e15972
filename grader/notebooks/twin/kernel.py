"""The shell that a cell meets: a kernel's, as far as a cell and the libraries that look for one can tell.

It shows what it is told to `outputs` and sends nothing anywhere: there is no second process and no socket.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from typing import Any

from ipykernel import zmqshell
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.utils.process import system
from traitlets import Type

_HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class _Hook(DisplayHook):
    def write_output_prompt(self) -> None:
        """No prompt: the number of the cell stands in the output itself."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        self.shell.outputs.rich(
            "execute_result", format_dict, md_dict or {}, execution_count=self.prompt_count
        )


class _Publisher(DisplayPublisher):
    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        name = (transient or {}).get("display_id")
        self.shell.outputs.display(data, metadata or {}, name, update=update)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.outputs.start()


# Its name is one of the things that libraries look at: rich, tqdm, pandas, mlflow.
class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """Runs cells in this process."""

    outputs: Any  # grader.notebooks.cells.Outputs, of the notebook that runs
    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)

    def init_environment(self) -> None:
        """Leave the environment as it is: a shell is made before there is a notebook, in a process for all."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Accept `%matplotlib inline`: pictures reach the publisher without an event loop."""

    def ask_exit(self) -> None:
        """Ignore `exit()`: the cells after it still count."""

    def system_piped(self, cmd: str) -> None:
        """Run a line `!cmd`, in a terminal where this machine has one."""
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        command = self.var_expand(cmd, depth=1)
        code = system(command) if _has_terminals() else _system_without_a_terminal(command)
        self.user_ns["_exit_code"] = code
        if self.system_raise_on_error and code != 0:
            raise subprocess.CalledProcessError(code, cmd)

    system = system_piped

    async def run_as_a_kernel_does(self, source: str, cell_id: str) -> Any:
        """Run a cell, in the event loop that calls this; return IPython's result."""
        try:
            transformed, wrong = self.transform_cell(source), None
        except Exception:
            transformed, wrong = source, sys.exc_info()
        more = {"transformed_cell": transformed, "preprocessing_exc_tuple": wrong}
        if not self.should_run_async(source, **more):
            return self.run_cell(source, store_history=True, cell_id=cell_id)
        result = None
        try:
            result = await self.run_cell_async(source, store_history=True, cell_id=cell_id, **more)
        finally:
            self.events.trigger("post_execute")
            self.events.trigger("post_run_cell", result)
        return result

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        kind, error, trace = super()._get_exc_info(exc_tuple)
        return kind, error, _without_the_grader(trace)

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        try:
            text = str(evalue)
        except Exception as second:  # a __str__ of the student's own
            text = f"(its message cannot be read: {type(second).__name__})"
        self.outputs.error(str(etype.__name__), text, stb)


def _has_terminals() -> bool:
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except OSError:
        return False
    return True


def _system_without_a_terminal(command: str) -> int:
    with subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                print(line.decode("utf-8", "replace"), end="")
        except KeyboardInterrupt:
            running.kill()
    return running.returncode


def set_environment(shell: ZMQInteractiveShell) -> None:
    """Set the variables that a kernel sets for its cells and what they start, such as PAGER."""
    zmqshell.ZMQInteractiveShell.init_environment(shell)


def _without_the_grader(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Leave out the frames through which a test asked the student's interpreter."""
    if trace is None:
        return None
    rest = _without_the_grader(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(_HERE):
        return rest
    return types.TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
