"""The GPUs of this machine: who has one, how much of its memory a job used, and whether it is clean afterwards.

Read from outside of every job, through NVIDIA's management library (NVML), which needs no context on a GPU. Nothing
here changes a setting of a GPU, and nothing resets one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from grader.sandbox import gpu
from grader.sandbox.build import MIB, SandboxError
from grader.sandbox.gpu import Gpu
from grader.sandbox.lease import Lease, Locks

PERIOD = 0.01  # seconds between two looks at the memory in use; what is held for less may be missed
CLEAN_WITHIN = 10.0  # seconds that the driver may take to give a dead process's memory back
SLACK = 64 * MIB  # by which memory in use at rest may differ from one time to the next
WAIT = 3600.0  # seconds to wait for a GPU that another grader has


@dataclass(frozen=True)
class Device:
    """One GPU as NVML tells of it, and what keeps it from being used, if anything does."""

    index: int  # in the order of the bus
    uuid: str
    name: str
    memory: int  # bytes
    minor: int  # of its node: /dev/nvidia{minor}
    bus: str  # such as 0000:01:00.0
    trouble: str = ""


class Nvml:
    """NVML, loaded and begun; raises SandboxError, which says why this machine has no GPU that can be used."""

    def __init__(self) -> None:
        import pynvml  # Python's binding of it, kept by NVIDIA

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise SandboxError(f"no GPU of NVIDIA's can be used here: {error}") from None
        if not self._handles:
            raise SandboxError("no GPU of NVIDIA's can be used here: the driver sees none")

    def devices(self) -> list[Device]:
        """Return the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, where a scheduler has set it."""
        found = [self._device(index, handle) for index, handle in enumerate(self._handles)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return found if visible is None else _chosen(found, visible)

    def _device(self, index: int, handle: Any) -> Device:
        nvml = self._nvml
        try:
            bus = nvml.nvmlDeviceGetPciInfo(handle)
            return Device(
                index,
                nvml.nvmlDeviceGetUUID(handle),
                nvml.nvmlDeviceGetName(handle),
                int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                nvml.nvmlDeviceGetMinorNumber(handle),
                f"{bus.domain:04x}:{bus.bus:02x}:{bus.device:02x}.0",
                self._trouble(handle),
            )
        except nvml.NVMLError as error:
            raise SandboxError(f"GPU {index} cannot be read: {error}; look at it with nvidia-smi") from None

    def _trouble(self, handle: Any) -> str:
        """Return why no job can have this GPU, "" where nothing is in its way."""
        nvml = self._nvml
        with suppress(nvml.NVMLError):  # most GPUs cannot be cut
            if nvml.nvmlDeviceGetMigMode(handle)[0]:
                return "it is cut into slices (MIG), and a job gets a whole GPU"
        with suppress(nvml.NVMLError):  # nor has each of them modes
            if nvml.nvmlDeviceGetComputeMode(handle) == nvml.NVML_COMPUTEMODE_PROHIBITED:
                return "its compute mode forbids processes"
        return ""

    def used(self, device: Device) -> int:
        """Return the bytes of its memory in use."""
        return int(self._ask(device, self._nvml.nvmlDeviceGetMemoryInfo).used)

    def processes(self, device: Device) -> list[int]:
        """Return the processes that compute on it, by the numbers that the driver knows them by."""
        return sorted(one.pid for one in self._ask(device, self._nvml.nvmlDeviceGetComputeRunningProcesses))

    def clocks(self, device: Device) -> dict[str, int]:
        """Return the clocks of its processors and its memory now, in MHz, as far as it tells."""
        kinds = {"processors": self._nvml.NVML_CLOCK_SM, "memory": self._nvml.NVML_CLOCK_MEM}
        found = {}
        for name, kind in kinds.items():
            try:
                found[name] = self._nvml.nvmlDeviceGetClockInfo(self._handles[device.index], kind)
            except self._nvml.NVMLError:
                continue  # a virtual machine may hide them
        return found

    def _ask(self, device: Device, function: Callable[[Any], Any]) -> Any:
        try:
            return function(self._handles[device.index])
        except self._nvml.NVMLError as error:
            # Such as "GPU is lost", after a fault of its hardware.
            raise SandboxError(
                f"{title(device)} cannot be read: {error}; look at it with nvidia-smi"
            ) from None


def title(device: Device) -> str:
    """Return a GPU's name in a sentence."""
    return f"GPU {device.index} ({device.name}, {device.uuid})"


def _chosen(found: list[Device], visible: str) -> list[Device]:
    """Return the GPUs that a list names by number or UUID; as in CUDA, the first unknown name ends the list."""
    chosen: list[Device] = []
    for word in filter(None, (word.strip() for word in visible.split(","))):
        if word.isdigit():
            match = [device for device in found if device.index == int(word)]
        else:
            match = [device for device in found if device.uuid.startswith(word)]
        if len(match) != 1:
            break
        chosen += match
    return chosen


class Cards:
    """What of this machine's GPUs a grader may give to jobs. Several threads may share one."""

    def __init__(self, *, locks: Locks | None = None, dev: str = "/dev", proc: str = gpu.PROC):
        """Ask NVML; `dev` and `proc` are the folders of the driver. Raises SandboxError where there is no GPU."""
        self.nvml, self.locks = Nvml(), locks or Locks()
        self._dev, self._proc = dev, proc

    def usable(self) -> tuple[list[tuple[Device, Gpu]], list[str]]:
        """Return the GPUs that jobs may have, and a sentence on each that they may not."""
        good, bad = [], []
        for device in self.nvml.devices():
            why = device.trouble or self.locks.why_out(device.uuid)
            if not why:
                try:
                    inside = gpu.of(device.uuid, device.minor, device.bus, dev=self._dev, proc=self._proc)
                    good.append((device, inside))
                    continue
                except SandboxError as error:
                    why = str(error)
            bad.append(f"{title(device)} gets no jobs: {why}")
        return good, bad

    @contextmanager
    def lease(self, wait: float = WAIT) -> Iterator[Card]:
        """Yield a GPU that nobody else has, `wait` seconds at most after it was asked for.

        Raises SandboxError where there is none, and where it is not clean at the end.
        """
        end = time.monotonic() + wait
        while True:
            good, why = self.usable()
            if not good:
                raise SandboxError(
                    "no GPU can be had: " + ("; ".join(why) or "CUDA_VISIBLE_DEVICES names none")
                )
            for device, inside in good:
                lease = self.locks.try_lease(device.uuid)
                if lease is None:
                    why.append(f"{title(device)} is another grader's")
                    continue
                card = Card(self, device, inside, lease)
                # Whoever computes there is no grader, or a job of one that was killed a moment ago.
                if busy := card.unclean():
                    why.append(busy)
                    lease.close()
                    continue
                try:
                    yield card
                    return
                finally:
                    card.close()
            if time.monotonic() >= end:
                raise SandboxError(f"no GPU came free within {wait:.0f} s: {'; '.join(why)}")
            time.sleep(0.1)


class Card:
    """A GPU that this grader has leased, for jobs of one examination."""

    def __init__(self, cards: Cards, device: Device, inside: Gpu, lease: Lease):
        self._cards, self.device, self.gpu, self.lease = cards, device, inside, lease
        self._changed = threading.Condition()
        self._running = self._ending = 0
        self._peak = 0
        self._meter: threading.Thread | None = None

    def begin(self) -> None:
        """A job is about to start: wait until those that have ended are gone; raises SandboxError for what they left.

        Jobs that run side by side are of one check, such as a comparison of two.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._ending)
            alone = not self._running
        if alone:
            self._require_clean()
            self._peak = 0
        with self._changed:
            self._running += 1
            if self._meter is None:
                self._meter = threading.Thread(target=self._watch, name="GPU memory", daemon=True)
                self._meter.start()

    def ending(self) -> None:
        """A job was told to end."""
        with self._changed:
            self._running -= 1
            self._ending += 1

    def ended(self) -> None:
        """Every process of that job is gone."""
        with self._changed:
            self._ending -= 1
            self._changed.notify_all()

    def peak(self) -> int:
        """Return the most bytes in use since `begin`, less what is in use at rest, by all jobs that run."""
        self._look()
        return self._peak

    def clocks(self) -> dict[str, int]:
        """Return the clocks of its processors and memory now, in MHz, as far as it tells."""
        return self._cards.nvml.clocks(self.device)

    def unclean(self) -> str:
        """Return what there is on the GPU that no job of ours put there; where nothing is, remember what rest is."""
        device, nvml = self.device, self._cards.nvml
        if processes := nvml.processes(device):
            return f"{title(device)} has processes that nobody leased it to: {', '.join(map(str, processes))}"
        used, rest = nvml.used(device), self.lease.at_rest
        if rest is not None and used > rest + SLACK:
            return f"{title(device)} holds {(used - rest) / MIB:.0f} MiB of memory that no process owns"
        if rest is None or used < rest:
            self.lease.at_rest = used
        return ""

    def close(self) -> None:
        """Give the GPU back once it is clean; raises SandboxError, and takes it out of service, where it is not."""
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._ending and not self._running, CLEAN_WITHIN)
            self._require_clean()
        finally:
            self.lease.close()

    def _require_clean(self) -> None:
        end = time.monotonic() + CLEAN_WITHIN
        while why := self.unclean():
            if time.monotonic() > end:
                raise SandboxError(self._cards.locks.retire(self.device.uuid, f"{why} after a job has ended"))
            time.sleep(0.02)

    def _look(self) -> None:
        used = self._cards.nvml.used(self.device)
        self._peak = max(self._peak, used - (self.lease.at_rest or 0))

    def _watch(self) -> None:
        while True:
            with self._changed:
                if not self._running:
                    self._meter = None
                    return
            try:
                self._look()
            except SandboxError:
                return  # whoever asks next is told
            time.sleep(PERIOD)
