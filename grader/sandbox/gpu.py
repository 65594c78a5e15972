"""What of one GPU enters a sandbox: its device nodes, its page in /proc, and the driver's libraries; no other GPU's.

The driver (NVIDIA's) has a node for each GPU, `/dev/nvidia0` and so on, one for all, `/dev/nvidiactl`, and one for
memory that both sides see, `/dev/nvidia-uvm`. A process attaches to a GPU through the first: where it is not there,
the GPU is not, whatever the second would tell. Nodes of profilers (`nvidia-uvm-tools`), of displays and of slices of
a GPU (MIG) stay outside.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from dataclasses import dataclass, field

from grader.sandbox import devices
from grader.sandbox.calls import SandboxError

PROC = "/proc/driver/nvidia"
SHARED = ("nvidiactl", "nvidia-uvm")
_BUS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_LIBRARIES = re.compile(r"lib(?:cuda|nvidia-\w[\w-]*)\.so")
_BOUND = ("/usr/", "/lib/", "/lib32/", "/lib64/")  # folders that every sandbox has
# Where images for containers keep a driver that the linker's cache does not know.
_ELSEWHERE = ("/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib")


@dataclass(frozen=True)
class Gpu:
    """What the sandbox needs to know of the GPU that its job has. Goes to the zygote as JSON."""

    uuid: str
    nodes: list[list[str]]  # each the node's path outside, and inside
    bus: str = ""  # its folder in `proc`/gpus, such as 0000:01:00.0
    proc: str = PROC  # the driver's folder outside
    # The driver's, where they lie in no folder that is bound.
    libraries: list[str] = field(default_factory=list)

    def allowed(self) -> list[devices.Device]:
        """Return the devices that a job with this GPU may open."""
        return [*devices.STANDARD, *devices.TERMINALS, *(devices.number(node) for node, _ in self.nodes)]


def of(uuid: str, minor: int, bus: str, *, dev: str = "/dev", proc: str = PROC) -> Gpu:
    """Return what a sandbox needs of the GPU with this `minor` number; raises SandboxError where a node is missing.

    `dev` and `proc` are the folders of the driver's nodes and pages.
    """
    names = [f"nvidia{minor}", *SHARED]
    for name in names:
        path = f"{dev}/{name}"
        try:
            devices.number(path)
        except FileNotFoundError:
            remedy = "run nvidia-modprobe -u -c 0" if name == "nvidia-uvm" else "load NVIDIA's driver"
            raise SandboxError(f"{path} is missing; {remedy} as root") from None
        except ValueError as error:
            raise SandboxError(f"{error}; reinstall NVIDIA's driver") from None
        if os.stat(path).st_mode & 0o006 != 0o006:
            raise SandboxError(
                f"{path} is not for everybody to read and write, and jobs run as users of their own: chmod 666 {path}"
            )
    if not _BUS.fullmatch(bus):
        raise SandboxError(f"{bus!r} is no address of a GPU on its bus")
    nodes = [[f"{dev}/{name}", f"/dev/{name}"] for name in names]
    return Gpu(uuid, nodes, bus, proc, outside(_linker_knows()))


def outside(paths: list[str]) -> list[str]:
    """Return those of the driver's libraries that lie, links followed, in no folder that every sandbox has."""
    real = {os.path.realpath(path) for path in paths} | set(paths)
    return sorted(path for path in real if not path.startswith(_BOUND) and os.path.exists(path))


@functools.cache
def _linker_knows() -> list[str]:
    """Return the driver's libraries that the linker's cache names."""
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        if os.path.exists(program):
            told = subprocess.run([program, "-p"], capture_output=True, text=True, env={"LC_ALL": "C"}).stdout
            return libraries(told)
    return []


def libraries(told: str) -> list[str]:
    """Return the paths of the driver's libraries in what `ldconfig -p` told."""
    lines = [line.strip().partition(" => ") for line in told.splitlines()]
    return [path for name, _, path in lines if path and _LIBRARIES.match(name)]


def library_path() -> str:
    """Return the folder of the driver's library where the linker must be told of it, else ""."""
    there = [folder for folder in _ELSEWHERE if os.path.exists(f"{folder}/libcuda.so.1")]
    known = there and any(os.path.basename(path).startswith("libcuda.so") for path in _linker_knows())
    return there[0] if there and not known else ""


def opened(descriptors: str = "/proc/self/fd") -> list[str]:
    """Return the driver's nodes that this process has opened: CUDA begins with that, and no fork survives it."""
    found = []
    for name in os.listdir(descriptors):
        try:
            target = os.readlink(f"{descriptors}/{name}")
        except OSError:  # the listing's own
            continue
        if target.startswith("/dev/nvidia"):
            found.append(target)
    return sorted(found)


def parameters(text: str) -> str:
    """Return the driver's parameters as a sandbox shows them: with no word that the node of a device may be made."""
    return re.sub(r"^ModifyDeviceFiles: \d+$", "ModifyDeviceFiles: 0", text, flags=re.M)
