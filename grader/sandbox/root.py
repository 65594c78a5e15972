"""The file system of a rank: a read-only tmpfs, with `/usr`, the Python environment, a few devices, the submission.

Writable are `/tmp` and `/dev/shm`, both private and counted as memory, and, where cells of a notebook run, terminals
of the rank's own. See namespaces(7), pivot_root(2), mount_setattr(2), and devpts in the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Sequence

from grader.sandbox import gpu as gpus
from grader.sandbox.calls import SandboxError, check, libc, mount, number, write
from grader.sandbox.packed import unpack

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_DEVICES = ("null", "zero", "full", "random", "urandom")
# Whoever may write to the first sets threads of the kernel to work, on nobody's account; to read in the second,
# such as mb_groups of ext4, reads the maps of all blocks of a disk. The others describe the machine.
_NOT_OF_PROC = ("pressure", "fs", "bus", "irq", "acpi", "asound", "scsi", "driver")
# Which fonts `/usr` has, for programs that draw: without these fontconfig complains, and reads every font anew.
_FONTS = ("/etc/fonts", "/var/cache/fontconfig")


def build(
    files: int,
    submission: str,
    *,
    tmp: int,
    shm: int,
    terminals: int,
    readonly: Sequence[str],
    hosts: str,
    uid: int,
    gpu: gpus.Gpu | None = None,
) -> None:
    """Replace the file system of this mount namespace by the sandbox's.

    `files` is a descriptor of the packed submission, which goes into the folder `submission`. `tmp` and `shm` are
    bytes, `terminals` how many there may be at one time, `readonly` folders besides `/usr`, `hosts` the text of
    `/etc/hosts`, `uid` the worker's user, `gpu` the one GPU that is there. Raises SandboxError.
    """
    # mkdir and open below must give the modes that they name.
    os.umask(0)
    mount(None, "/", None, _REC | _PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=128m,nr_inodes=16k,mode=755")
    for folder in ("/tmp/new", "/tmp/old"):
        os.mkdir(folder, 0o755)
    _pivot("/tmp", "/tmp/old")
    old, new = "/old", "/new"
    mount(new, new, None, _BIND)  # pivot_root wants a mount point
    for folder in ("proc", "dev", "dev/shm", "tmp", "etc", "usr", "old"):
        os.mkdir(f"{new}/{folder}", 0o755)
    mount("proc", f"{new}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    private = _NOSUID | _NODEV
    for name in _NOT_OF_PROC:
        if name == "driver" and gpu is not None:
            continue  # below, with that GPU's page
        if os.path.isdir(f"{new}/proc/{name}"):
            mount("tmpfs", f"{new}/proc/{name}", "tmpfs", private | _RDONLY, "nr_inodes=1,mode=555")
    mount("tmpfs", f"{new}/tmp", "tmpfs", private, f"size={tmp},nr_inodes=64k,mode=1777")
    mount("tmpfs", f"{new}/dev/shm", "tmpfs", private, f"size={shm},nr_inodes=64k,mode=1777")
    _bind(f"{old}/usr", f"{new}/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink(f"{old}/{name}"):
            os.symlink(os.readlink(f"{old}/{name}"), f"{new}/{name}")
        elif os.path.isdir(f"{old}/{name}"):
            _bind(f"{old}/{name}", f"{new}/{name}")
    if os.path.exists(f"{old}/etc/ld.so.cache"):
        _bind(f"{old}/etc/ld.so.cache", f"{new}/etc/ld.so.cache")
    for folder in _FONTS:
        if os.path.isdir(old + folder):
            _bind(old + folder, new + folder)
    write(f"{new}/etc/hosts", hosts)
    write(f"{new}/etc/passwd", f"student:x:{uid}:{uid}::/tmp:/bin/sh\n")
    for name in _DEVICES:
        _bind(f"{old}/dev/{name}", f"{new}/dev/{name}", device=True)
    if gpu is not None:
        _add_gpu(gpu, old, new)
    if terminals:
        _add_terminals(f"{new}/dev", terminals)
    for folder in readonly:
        _bind(old + folder, new + folder)
    os.mkdir(new + submission, 0o755)
    unpack(files, new + submission)
    _pivot(new, f"{new}{old}")
    check(libc().umount2(old.encode(), 2), "umount of the old root")  # MNT_DETACH
    os.rmdir(old)
    mount(None, "/", None, _BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV)
    os.umask(0o022)
    os.chdir("/tmp")


def _add_gpu(gpu: gpus.Gpu, old: str, new: str) -> None:
    """Bind the nodes of one GPU, its page in /proc, and what of the driver lies outside of /usr."""
    for node, inside in gpu.nodes:
        _bind(old + node, new + inside, device=True)
    for path in gpu.libraries:
        _bind(old + path, new + path)
    pages = f"{new}/proc/driver"
    if not os.path.isdir(pages):
        return  # a kernel without drivers that have pages
    flags = _NOSUID | _NODEV | _NOEXEC
    mount("tmpfs", pages, "tmpfs", flags, "size=1m,nr_inodes=64,mode=755")
    os.makedirs(f"{pages}/nvidia/gpus", 0o755)
    for name in ("version", "params"):
        if os.path.isfile(f"{old}{gpu.proc}/{name}"):
            with open(f"{old}{gpu.proc}/{name}") as file:
                write(f"{pages}/nvidia/{name}", gpus.parameters(file.read()))
    page = f"{gpu.proc}/gpus/{gpu.bus}"
    if os.path.isdir(old + page):
        _bind(old + page, f"{pages}/nvidia/gpus/{gpu.bus}")
    mount(None, pages, None, _BIND | _REMOUNT | _RDONLY | flags)


def _add_terminals(dev: str, most: int) -> None:
    """Mount an instance of devpts that nobody else has, and whose terminals nobody else can open."""
    os.mkdir(f"{dev}/pts", 0o755)
    # A kernel without pseudo-terminals has none here either; the shell of a notebook then does without.
    with contextlib.suppress(SandboxError):
        options = f"newinstance,ptmxmode=666,mode=600,max={most}"
        mount("devpts", f"{dev}/pts", "devpts", _NOSUID | _NOEXEC, options)
        os.symlink("pts/ptmx", f"{dev}/ptmx")


def _bind(source: str, target: str, *, device: bool = False) -> None:
    if os.path.isdir(source):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif stat.S_IFMT(os.stat(source).st_mode) in (stat.S_IFREG, stat.S_IFCHR):
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        write(target, "")
    else:
        raise SandboxError(f"{source} is neither a folder, a file nor a device")
    mount(source, target, None, _BIND | _REC)
    # A device can be written to all the same, but the times of the machine's own node cannot be set: they would tell
    # a later job what this one wants to be known.
    _make_readonly(target, _RDONLY | _NOSUID | (_NOEXEC if device else _NODEV))


def _make_readonly(target: str, flags: int) -> None:
    # What is mounted below the target must become read-only too, which only mount_setattr (Linux 5.12) can do.
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    failed = libc().syscall(
        _MOUNT_SETATTR, -100, target.encode(), _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes))
    )
    if failed:
        mount(None, target, None, _BIND | _REMOUNT | flags)


def _pivot(new: str, old: str) -> None:
    check(libc().syscall(number("pivot_root"), new.encode(), old.encode()), f"pivot_root to {new}")
    os.chdir("/")
