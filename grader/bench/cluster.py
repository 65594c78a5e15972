"""A Slurm cluster on one machine: a real controller and real node daemons, started by hand, without systemd.

    python -m grader.bench.cluster [--nodes 2] [--cpus 2]      # a shell inside; the cluster ends with it

The nodes are emulated: each is a slurmd of its own that says it has `cpus` processors and some memory, all on this
machine. Needs Debian's slurmctld, slurmd, slurm-client and munge. Nothing outside of its folder is touched, no
service is used, and a cluster that this machine belongs to goes on as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

PROGRAMS = "munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo"
_WHERE = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_START = 60.0  # seconds until all nodes must be idle
_CONF = """
ClusterName=emulated
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
{gres}
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill,UsePss
PropagateResourceLimits=NONE
KillWait=2
SlurmdTimeout=10
MessageTimeout=5
OverTimeLimit=0
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports}] CPUs={cpus} RealMemory={memory} {gpus}
PartitionName=lab Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=10
"""


def missing() -> str:
    """Return a sentence on what a cluster needs and this machine lacks; the empty string where it lacks nothing."""
    lacks = [name for name in PROGRAMS if shutil.which(name, path=_WHERE) is None]
    if sys.platform != "linux" or lacks:
        return (
            f"no Slurm here ({', '.join(lacks) or sys.platform}): "
            "apt-get install slurmctld slurmd slurm-client munge"
        )
    if os.geteuid() != 0:
        return "an emulated cluster is started by root: the sandbox in its tasks needs control groups"
    return ""


class Cluster:
    """A cluster in a folder of its own. Use it as a context manager: meanwhile it sets SLURM_CONF."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, memory: int = 8000, gpus: int = 2):
        """Describe a cluster of `nodes` nodes with `cpus`, `memory` MiB and `gpus` pretended GPUs each."""
        if told := missing():
            raise RuntimeError(told)
        self.folder, self.nodes = folder.resolve(), [f"n{number + 1}" for number in range(nodes)]
        self._cpus, self._memory, self._gpus = cpus, memory, gpus
        self._munged: subprocess.Popen[bytes] | None = None
        self._before: str | None = None
        self._handler: Any = None

    def __enter__(self) -> Cluster:
        self._describe()
        if threading.current_thread() is threading.main_thread():
            # Ended by SIGTERM, this process would leave its daemons behind.
            self._handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self._before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")
        try:
            self._start_munge()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, RuntimeError, subprocess.SubprocessError):
            subprocess.run(["scancel", "--user", str(os.getuid())], capture_output=True, timeout=20)
            self._until(lambda: not self.say("squeue", "--noheader").strip(), 10)
        for name in (*self.nodes, "slurmctld"):
            self.kill(name, signal.SIGTERM, patience=5)
            self.kill(name, signal.SIGKILL)
        # What Slurm started and could not end any more.
        for node in self.nodes:
            self.kill_steps(node)
        if self._munged is not None:
            self._munged.terminate()
            self._munged.wait(20)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        if self._before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = self._before

    def _describe(self) -> None:
        (self.folder / "state").mkdir(parents=True)
        # Tasks of ordinary users talk with munge and read the description.
        self.folder.chmod(0o755)
        first, *ports = _free_ports(len(self.nodes) + 1)
        gres, gpus = "", ""
        if self._gpus:
            for number in range(self._gpus):  # a null device stands for a card: Slurm only counts them
                os.mknod(self.folder / f"gpu{number}", 0o020666, os.makedev(1, 3))
            files = f"File={self.folder}/gpu[0-{self._gpus - 1}]"
            (self.folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu {files}\n")
            gres, gpus = "GresTypes=gpu", f"Gres=gpu:{self._gpus}"
        text = _CONF.format(
            host=socket.gethostname().partition(".")[0],
            controller=first,
            user=getpass.getuser(),
            folder=self.folder,
            nodes=len(self.nodes),
            ports=",".join(map(str, ports)),
            cpus=self._cpus,
            memory=self._memory,
            gres=gres,
            gpus=gpus,
        )
        (self.folder / "slurm.conf").write_text(text)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        files = {
            "key-file": key.name,
            "socket": "munge.sock",
            "pid-file": "munged.pid",
            "seed-file": "munge.seed",
        }
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        log = open(self.folder / "munged.log", "wb")  # noqa: SIM115 - as long as the daemon
        self._munged = subprocess.Popen(
            [_program("munged"), "--foreground", "--force", *options],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._until((self.folder / "munge.sock").exists, 20)

    # --- what a test does to it -----------------------------------------------------------------------------

    def start_controller(self) -> None:
        """Start the controller; it goes on with what it knew."""
        subprocess.run([_program("slurmctld")], check=True, capture_output=True, timeout=60)

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        subprocess.run([_program("slurmd"), "-N", node], check=True, capture_output=True, timeout=60)

    def kill(self, name: str, sign: int = signal.SIGKILL, patience: float = 10.0) -> bool:
        """Send a signal to a node's daemon or to `slurmctld`, and wait until it is gone; return whether it is."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, sign)
        except (OSError, ValueError):
            return True
        return self._until(lambda: not Path("/proc", str(pid)).exists(), patience)

    def kill_steps(self, node: str) -> int:
        """Kill what runs of jobs on a node, as a power cut would; return how many processes that were."""
        found = [
            process for process in self._of_jobs() if _environment(process).get("SLURMD_NODENAME") == node
        ]
        # The process of Slurm's that watches a task does not carry the node's name.
        above = [process.parent() for process in found]
        found += [one for one in above if one and one.name().startswith("slurmstepd")]
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return len(found)

    def tasks(self, module: str) -> list[psutil.Process]:
        """Return the processes of jobs that run this Python module."""
        found = []
        for process in self._of_jobs():
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    found.append(process)
        return found

    def _of_jobs(self) -> list[psutil.Process]:
        ours = str(self.folder / "slurm.conf")
        return [
            process
            for process in psutil.process_iter()
            if "SLURM_JOB_ID" in (environment := _environment(process))
            and environment.get("SLURM_CONF") == ours
        ]

    def down(self, node: str) -> None:
        """Declare a node lost: Slurm ends its jobs, with the state NODE_FAIL."""
        self.say("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def resume(self, node: str) -> None:
        """Let a node that was lost work again; one whose daemon has answered meanwhile does so by itself."""
        with contextlib.suppress(RuntimeError):  # Slurm refuses to resume a node that is up, and says no more
            self.say("scontrol", "update", f"nodename={node}", "state=resume")

    def running(self) -> list[str]:
        """Return the jobs that run, as `ARRAY_TASK`."""
        told = self.say("squeue", "--noheader", "--array", "--states=running", "--format=%i")
        return told.split()

    def say(self, *command: str) -> str:
        """Run one of Slurm's commands, and return what it printed; raises RuntimeError where it fails."""
        for _ in range(5):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                return done.stdout
            if "contact slurm controller" not in done.stderr:
                break
            time.sleep(1)  # it was started a moment ago
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def wait_until_idle(self) -> None:
        """Wait until every node would take a job."""

        def idle() -> bool:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                told = self.say("sinfo", "--noheader", "--Node", "--partition=lab", "--format=%N %t").split()
                return told[1::2].count("idle") == len(self.nodes)
            return False

        if not self._until(idle, _START):
            tails = [(self.folder / f"{name}.log") for name in ("slurmctld", *self.nodes)]
            told = "\n".join(path.read_text()[-1500:] for path in tails if path.exists())
            raise RuntimeError(f"the emulated cluster did not start:\n{told}")

    def _until(self, condition: object, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # it has ended
        return {}


def _program(name: str) -> str:
    path = shutil.which(name, path=_WHERE)
    assert path is not None  # `missing` looked
    return path


def _free_ports(count: int) -> list[int]:
    opened = [socket.socket() for _ in range(count)]
    try:
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]
    finally:
        for one in opened:
            one.close()


def main() -> None:
    """Start a cluster, and a shell that knows it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2)
    options = parser.parse_args()
    if told := missing():
        sys.exit(told)
    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(Path(folder), options.nodes, options.cpus) as cluster,
    ):
        print(cluster.say("sinfo", "--Node", "--format=%N %T %c %m %G"))
        subprocess.run([os.environ.get("SHELL", "/bin/sh")])


if __name__ == "__main__":
    main()
