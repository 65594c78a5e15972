"""Stand-ins for GPUs: a library for NVML, device nodes that do no harm, and the driver's pages in /proc."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MINORS = (0, 1)
# Of the shared nodes and of each GPU's: devices that may be opened without harm. (See mem(4); 10, 229 is FUSE's.)
NODES = {"nvidiactl": (1, 5), "nvidia-uvm": (1, 3), "nvidia0": (1, 7), "nvidia1": (10, 229)}


def uuid(minor: int) -> str:
    return f"GPU-0000000{minor}-aaaa-bbbb-cccc-000000000000"


@dataclass
class FakeGpus:
    """Two GPUs, of which `set` says what the library tells."""

    folder: Path
    used: dict[int, int] = field(default_factory=lambda: dict.fromkeys(MINORS, 4))  # MiB, by minor number
    processes: list[tuple[int, int, int]] = field(default_factory=list)  # index, process, MiB
    mig: int = -1

    def __post_init__(self) -> None:
        for minor in MINORS:
            page = self.folder / "proc" / "gpus" / f"0000:0{minor + 1}:00.0"
            page.mkdir(parents=True)
            (page / "information").write_text(f"Model: Stand-in\nDevice Minor: {minor}\n")
        (self.folder / "proc" / "version").write_text("NVRM version: 1\n")
        (self.folder / "proc" / "params").write_text("ModifyDeviceFiles: 1\nDeviceFileMode: 438\n")
        (self.folder / "dev").mkdir()
        for name, device in NODES.items():
            os.mknod(self.folder / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(*device))
            os.chmod(self.folder / "dev" / name, 0o666)
        self.tell()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def options(self) -> dict[str, str]:
        """What `Cards` is told of these folders."""
        return {"dev": str(self.folder / "dev"), "proc": str(self.folder / "proc")}

    def tell(self) -> None:
        """Let the library tell what stands here, all at once."""
        lines = [f"gpu {uuid(m)} {m} {m + 1:x} {self.used[m]} 81920 {self.mig}" for m in MINORS]
        lines += [f"process {index} {pid} {mib}" for index, pid, mib in self.processes]
        aside = self.folder / "state.new"
        aside.write_text("\n".join(lines) + "\n")
        aside.replace(self.state)


def build_library(folder: Path, name: str = "libnvidia-ml.so.1", source: str = "fake_nvml.c") -> Path:
    """Compile a stand-in, such as NVML's, under the name that its users ask the linker for."""
    library = folder / name
    try:
        subprocess.run(
            [
                "cc",
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{name}",
                "-o",
                library,
                Path(__file__).with_name(source),
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no C compiler makes the stand-in {name}: {error}")
    return library


GRADER = '''
"""A grader of its own: leases a GPU, says so, and runs one job on it until it is killed."""
import sys
from pathlib import Path
from grader.examine.cards import Cards
from grader.examine.checks import Check
from grader.examine.examiner import Examiner
from grader.examine.submission import Submission
from grader.sandbox.lease import Locks
from grader.sandbox.packed import Packed

folder, work, wait = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with Examiner("namespaces") as examiner:
    cards = Cards(locks=Locks(folder / "locks"), dev=str(folder / "dev"), proc=str(folder / "proc"))
    with cards.lease(wait) as card:
        check = Check("c", "i", 1.0, 600.0, None, "", "", False, "S.", lambda sub: None)
        sub = Submission(examiner.place, Packed(work, ["work.py"]), check, driver=None, memory=1 << 30, seed=1,
                         card=card)
        print("leased", card.device.uuid, flush=True)
        print("result", sub.call("work:run").result, flush=True)
'''
