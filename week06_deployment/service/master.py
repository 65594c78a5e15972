"""The process that holds the listening socket, and replaces its workers one by one.

The socket is opened once and inherited by every worker, so that connections which no worker has taken yet wait in its
queue, whoever comes and goes. On SIGHUP each worker is replaced: the new one is started first, and only when it
answers does the old one begin to drain. A worker is a new process with a new interpreter, so it runs the code that is
on the disk now. On SIGTERM all workers drain, then the master leaves.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

START = 120.0
"""Seconds in which a worker must answer: so many that only a broken one needs them."""


async def roll(workers: list, start: Callable[[], Awaitable], stop: Callable[[Any], Awaitable]) -> None:
    """Replace each of `workers`, in place: start a new one, and when it answers let the old one drain.

    There are never fewer workers than before. `start` returns when the new worker answers, and raises if it never
    does: then the roll is over, and the old ones go on.
    """
    for place, old in enumerate(list(workers)):
        workers[place] = await start()
        await stop(old)


class Master:
    """Keeps `workers` processes alive on one listening socket.

    Args:
        listener: the listening socket.
        workers: how many processes.
        options: command-line options for `week06_deployment.service.worker`.
        grace: seconds after SIGTERM in which a worker must have left, before it is killed.
        roll: replaces all workers: gets their list, `start` and `stop`.
    """

    def __init__(
        self,
        listener: socket.socket,
        workers: int,
        options: Sequence[str] = (),
        grace: float = 30,
        roll: Callable = roll,
    ):
        self.listener, self.count, self.options, self.grace = listener, workers, list(options), grace
        self.roll = roll
        self.workers: list[asyncio.subprocess.Process] = []
        self.rolls = 0  # complete ones

    async def start(self) -> asyncio.subprocess.Process:
        """Start one worker; return when it answers. Raises RuntimeError if it does not."""
        module = "week06_deployment.service.worker"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, "--socket", str(self.listener.fileno()), *self.options,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[self.listener.fileno()],
        )  # fmt: skip
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START)
        except TimeoutError:
            line = b""
        if line != b"ready\n":
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise RuntimeError(f"a worker did not start (exit status {await process.wait()})")
        return process

    async def stop(self, process: asyncio.subprocess.Process) -> None:
        """Let one worker drain; kill it if it stays longer than `grace`."""
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.grace)
        except TimeoutError:
            process.kill()
            await process.wait()
        self._forget(process)

    def _forget(self, process: asyncio.subprocess.Process) -> None:
        """Drop the gauges of a worker that is gone; its counters stay, or rates would fall at each restart."""
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from prometheus_client import multiprocess

            multiprocess.mark_process_dead(process.pid)

    async def run(self) -> None:
        """Start all workers, say where they are, and serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        rolling, leaving = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, rolling.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leaving.set)
        try:
            self.workers = list(await asyncio.gather(*(self.start() for _ in range(self.count))))
            host, port = self.listener.getsockname()[:2]
            self._say(event="ready", address=f"http://{host}:{port}")
            leave = asyncio.create_task(leaving.wait())
            while not leaving.is_set():
                roll = asyncio.create_task(rolling.wait())
                gone = [asyncio.create_task(process.wait()) for process in self.workers]
                await asyncio.wait({leave, roll, *gone}, return_when=asyncio.FIRST_COMPLETED)
                for task in (roll, *gone):
                    task.cancel()
                if leaving.is_set():
                    break
                if rolling.is_set():
                    rolling.clear()
                    await self._roll_unless(leave)
                for place, process in enumerate(self.workers):
                    if process.returncode is not None:  # it died: nobody asked it to
                        self._forget(process)
                        self.workers[place] = await self.start()
        finally:
            await asyncio.gather(*(self.stop(process) for process in self.workers))

    async def _roll_unless(self, leave: asyncio.Task) -> None:
        """Roll; report the end; give up if the whole service is to leave."""
        roll = asyncio.create_task(self.roll(self.workers, self.start, self.stop))
        await asyncio.wait({roll, leave}, return_when=asyncio.FIRST_COMPLETED)
        if not roll.done():
            roll.cancel()
        try:
            await roll
            self.rolls += 1
            self._say(event="rolled", rolls=self.rolls, workers=[process.pid for process in self.workers])
        except asyncio.CancelledError:
            pass
        except Exception as error:  # a worker that does not start: the old ones go on
            self._say(event="roll failed", error=f"{type(error).__name__}: {error}")

    @staticmethod
    def _say(**event: object) -> None:
        """A line of JSON on standard output, for whoever started us."""
        print(json.dumps(event), flush=True)


def serve(host: str, port: int, workers: int, options: Sequence[str] = (), roll: Callable = roll) -> None:
    """Listen, and run a master until it is told to leave. Port 0 is any free one."""
    # As long as the system allows (net.core.somaxconn): connections wait here while workers change.
    listener = socket.create_server((host, port), backlog=4096)
    listener.set_inheritable(True)
    listener.setblocking(False)
    with tempfile.TemporaryDirectory(prefix="digits-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        asyncio.run(Master(listener, workers, options, roll=roll).run())
