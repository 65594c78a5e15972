"""Isolation for workers, by the kernel's own means and no helper program.

A *job* is one leader and N ranks. Each rank gets its own network, process, mount, IPC, host name and cgroup
namespaces. Ranks reach each other over the cables that `network.py` lays between them, whose counters the
examiner reads from outside. (Two slow ways round them are left: options of the sockets of standard output, which
they share, and locks on files that all may read. A check that bounds bytes from below sees both.) Within:

    init    process 1 of the rank: builds the file system, reports how the worker ended, and nothing else
    worker  runs the submission: no capability, no new privileges, a seccomp filter, limits

`root.py` builds the file system. See namespaces(7), user_namespaces(7), seccomp(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from grader.sandbox import network, root, seccomp
from grader.sandbox.calls import SandboxError as SandboxError
from grader.sandbox.calls import check, libc, number, write
from grader.sandbox.gpu import Gpu
from grader.sandbox.packed import unpack
from grader.sandbox.users import WORKER_UIDS

MIB = 1 << 20
SUBMISSION = "/submission"

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID = 0x10000000, 0x20000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38


@dataclass(frozen=True)
class Limits:
    """What a worker may use. Memory and processes hold for the job as a whole, where control groups exist."""

    memory: int = 2048 * MIB  # bytes
    processes: int = 256
    cpus: float = 0.0  # processors' worth of time, 0 for one per rank and one more
    tmp: int = 256 * MIB  # bytes in /tmp
    shm: int = 512 * MIB  # bytes in /dev/shm
    file: int = 256 * MIB  # bytes in one file
    descriptors: int = 1024
    internet: bool = True  # TCP and UDP, over the loopback and between ranks; their timers outlive a freeze
    # At one time. What is written to one, a thread of the kernel's carries over: none where time is compared.
    terminals: int = 0


@dataclass(frozen=True)
class Request:
    """What the zygote is asked for: one job. Holds no secret, since every worker can read the zygote's memory."""

    ranks: int
    isolated: bool
    limits: Limits = field(default_factory=Limits)
    cgroup: list[str] = field(default_factory=list)  # cgroup.procs files that a rank writes itself into
    readonly: list[str] = field(default_factory=list)  # folders bound into the sandbox besides /usr
    scratch: str = ""  # where ranks without isolation get their folders
    user: int = WORKER_UIDS[0]  # of every rank, where root may choose
    dialed: bool = False  # the examiner wants sockets of the network of the one rank, see `network.hand_out`
    gpu: Gpu | None = (
        None  # that the job has to itself; the lock on it comes with the request, see `lease.py`
    )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        data = json.loads(text)
        gpu = Gpu(**data["gpu"]) if data["gpu"] else None
        return cls(**{**data, "limits": Limits(**data["limits"]), "gpu": gpu})


def environment_folders() -> list[str]:
    """Return the folders that make up this Python environment and lie outside /usr."""
    found: list[str] = []
    for folder in (sys.base_prefix, sys.prefix):
        path = os.path.realpath(folder)
        if not any(Path(path).is_relative_to(there) for there in ["/usr", *found]):
            found.append(path)
    return found


def lead(
    request: Request,
    files: int,
    ranks: list[int],
    stdout: int,
    stderr: int,
    status: int,
    work: Callable[[int, int, str], None],
    dialer: int | None = None,
    lease: int | None = None,
) -> NoReturn:
    """Become the leader of a job: start every rank, report each end on `status`, exit when all have ended.

    `files` is a descriptor of the packed submission, `ranks` one socket per rank, `work(rank, socket,
    submission)` what a worker does, `dialer` a socket on which the examiner asks for others, `lease` the lock
    on the job's GPU, which the leader and the ranks' first processes hold as long as they live. On `status` stand
    lines of JSON: `{"rank": r, "pid": number}`, `{"rank": r, "exit": code}`, or `{"setup": why}` where the sandbox
    could not be built.
    """
    try:
        os.setsid()
        _die_with_parent()
        networks: list[int] = []
        if request.isolated:
            _new_user()
            networks = network.new(request.ranks)
        if dialer is not None:
            held = () if lease is None else (lease,)
            _start_dialer(dialer, {files, *ranks, stdout, stderr, status, *networks, *held})
        children = {}
        for rank in range(request.ranks):
            if networks:
                network.enter(networks[rank])
            pid = _start_rank(rank, request, files, ranks, stdout, stderr, status, networks, work, lease)
            children[pid] = rank
            _report(status, rank=rank, pid=pid)
        for descriptor in (files, *ranks, stdout, stderr, *networks):
            os.close(descriptor)
        while children:
            pid, ended = os.waitpid(-1, 0)
            if pid in children:
                _report(status, rank=children.pop(pid), exit=os.waitstatus_to_exitcode(ended))
        os._exit(0)
    except BaseException as error:
        _report(status, setup=f"{type(error).__name__}: {error}")
        os._exit(1)


def _start_dialer(dialer: int, others: set[int]) -> None:
    """Fork what hands sockets to the examiner: it has the leader's rights, and no process of the rank sees it."""
    if os.fork():
        os.close(dialer)
        return
    try:
        _die_with_parent()
        for descriptor in others:
            os.close(descriptor)
        network.hand_out(dialer)
    finally:
        os._exit(0)


def _start_rank(
    rank: int,
    request: Request,
    files: int,
    ranks: list[int],
    stdout: int,
    stderr: int,
    status: int,
    networks: list[int],
    work: Callable[[int, int, str], None],
    lease: int | None,
) -> int:
    pid = _clone(_NEWNS | _NEWPID | _NEWIPC | _NEWUTS | _NEWCGROUP) if request.isolated else os.fork()
    if pid:
        return pid
    try:
        _die_with_parent()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, standard in ((nothing, 0), (stdout, 1), (stderr, 2)):
            os.dup2(descriptor, standard)
        for descriptor in {nothing, *ranks, *networks, stdout, stderr} - {ranks[rank]}:
            os.close(descriptor)
        for path in request.cgroup:
            write(path, "0")
        if request.isolated:
            submission = SUBMISSION
            socket.sethostname("sandbox")
            _build_root(request, rank, files)
            # What was opened before is the machine's own node, see `root.py`.
            os.close(0)
            os.open(os.devnull, os.O_RDONLY)
        else:
            home = f"{request.scratch}/rank{rank}"
            submission = home + SUBMISSION
            os.makedirs(f"{home}/tmp", 0o700)
            unpack(files, submission)
            os.chdir(f"{home}/tmp")
        worker = os.fork()
        if worker == 0:
            os.close(files)
            if lease is not None:
                os.close(lease)  # who has it can give it up
            if request.gpu is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = request.gpu.uuid
            if request.isolated:
                os.environ["MASTER_ADDR"] = network.name(0, request.ranks)
                _restrict(request)
            else:
                _die_with_parent()
            os.close(status)
            work(rank, ranks[rank], submission)
            os._exit(0)
        for descriptor in (0, 1, 2, files, ranks[rank]):
            os.close(descriptor)
        if request.isolated:
            # Where no root grades, the worker has the same user: this makes /proc/1 root's.
            libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        # An orphan of the worker becomes a child of this process; all of them die when it exits.
        while True:
            pid, ended = os.waitpid(-1, 0)
            if pid == worker:
                code = os.waitstatus_to_exitcode(ended)
                os._exit(code if code >= 0 else 128 - code)
    except BaseException as error:
        _report(status, setup=f"{type(error).__name__}: {error}")
        os._exit(1)


def _new_user() -> None:
    """Give an ordinary user's process the rights over its own namespaces; root has them."""
    if os.geteuid() != 0:
        # The uid map belongs to root unless the process is dumpable.
        libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        user, group = os.getuid(), os.getgid()
        check(libc().unshare(_NEWUSER), "unshare")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"1000 {user} 1")
        write("/proc/self/gid_map", f"1000 {group} 1")


def _build_root(request: Request, rank: int, files: int) -> None:
    root.build(
        files,
        SUBMISSION,
        tmp=request.limits.tmp,
        shm=request.limits.shm,
        terminals=request.limits.terminals,
        readonly=request.readonly,
        hosts=network.hosts(rank, request.ranks),
        uid=request.user if os.geteuid() == 0 else 1000,
        gpu=request.gpu,
    )


def _restrict(request: Request) -> None:
    """Give up every right in the process that will run the submission."""
    limits, prctl = request.limits, libc().prctl
    for name, value in (
        # One is the only limit that also keeps the kernel from starting a machine's crash handler (see core(5)).
        (resource.RLIMIT_CORE, 1),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_NOFILE, limits.descriptors),
        (resource.RLIMIT_MEMLOCK, 64 * MIB),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, most = resource.getrlimit(name)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(name, (value, value))
    if not request.cgroup:
        # Weaker than a control group: it bounds each process by itself.
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    for capability in range(64):
        if prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(request.user, request.user, request.user)
        os.setresuid(request.user, request.user, request.user)
        # The change of user made /proc/self belong to root, where a program expects its own.
        prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    no_capabilities = struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0] * 6)
    check(libc().syscall(number("capset"), *no_capabilities), "capset")
    check(prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    code = seccomp.program(internet=limits.internet)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    check(prctl(_PR_SET_SECCOMP, 2, head, 0, 0), "seccomp")


def _clone(flags: int) -> int:
    """Fork into new namespaces. The child may only build its sandbox and fork again, properly, before more.

    The plain system call skips what the C library does at a fork, such as renewing its copy of the thread id.
    """
    call = number("clone")
    # PyDLL keeps the interpreter lock over the call, so that the child holds it as the parent did.
    locked = ctypes.PyDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    asked = ctypes.c_ulong(flags | signal.SIGCHLD)
    return check(locked.syscall(call, asked, none, none, none, none), "clone")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # It may have died before; in a new process namespace the parent's number reads 0 either way.
        if os.getppid() != parent:
            os._exit(1)


def _report(status: int, **message: Any) -> None:
    # The examiner may be gone, and then nobody waits for the line.
    with contextlib.suppress(BrokenPipeError):
        os.write(status, json.dumps(message).encode() + b"\n")
