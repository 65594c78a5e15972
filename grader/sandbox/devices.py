"""An allow-list of devices for a control group: of the nodes in a sandbox, those that its processes may open.

The nodes of other devices are not in the sandbox, and nobody in it may make one. The list holds should both fail.
Version 1 has a controller for it; in version 2 it is a small program, which the kernel runs whenever a process of the
group opens a device. Only root may load one. See bpf(2), and the kernel's pages on both versions of control groups.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from grader.sandbox.calls import libc

Device = tuple[int, int | None]  # major and minor number of a character device; None: every minor number
STANDARD: tuple[Device, ...] = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9))  # null, zero, full, random, urandom
TERMINALS: tuple[Device, ...] = ((5, 2), (136, None))

_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _PROG_ATTACH, _CGROUP_DEVICE, _CHARACTER = 5, 8, 15, 2
_ATTACHED = 6  # BPF_CGROUP_DEVICE, as a way to attach
_LOAD_WORD, _AND, _JUMP_IF_NOT, _SET, _EXIT = 0x61, 0x54, 0x55, 0xB7, 0x95
_ATTRIBUTES = 72  # bytes of `union bpf_attr` that we fill


def number(path: str) -> Device:
    """Return the device that a node is; raises ValueError for what is no character device, or OSError."""
    found = os.stat(path)
    if not stat.S_ISCHR(found.st_mode):
        raise ValueError(f"{path} is no character device")
    return os.major(found.st_rdev), os.minor(found.st_rdev)


def allow_version1(group: Path, devices: Iterable[Device]) -> None:
    """Let the processes of a group of version 1 open `devices` and no others; raises OSError where we may not."""
    (group / "devices.deny").write_text("a")
    for major, minor in devices:
        (group / "devices.allow").write_text(f"c {major}:{'*' if minor is None else minor} rw")


def allow_version2(group: Path, devices: Sequence[Device]) -> None:
    """Let the processes of a group of version 2 open `devices` and no others; raises OSError where we may not.

    The program stays with the group, and goes with it.
    """
    code = program(devices)
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"MIT")
    loaded = _bpf(
        _PROG_LOAD,
        struct.pack(
            "=IIQQ",
            _CGROUP_DEVICE,
            len(code) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(licence),
        ),
    )
    try:
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _bpf(_PROG_ATTACH, struct.pack("=IIII", folder, loaded, _ATTACHED, 0))
        finally:
            os.close(folder)
    finally:
        os.close(loaded)


def program(devices: Sequence[Device]) -> bytes:
    """Return the program: 1, which allows, for a character device that is listed, else 0.

    It is given `struct bpf_cgroup_dev_ctx`: three words, of which the first has the type in its lower half.
    """
    tests = []
    for major, minor in devices:
        wanted = [(3, major)] if minor is None else [(3, major), (4, minor)]
        for place, (register, value) in enumerate(wanted):
            # Past what is left of this device's tests, and the two instructions that allow.
            tests.append(_instruction(_JUMP_IF_NOT, register, 0, len(wanted) - place + 1, value))
        tests += [_instruction(_SET, 0, 0, 0, 1), _instruction(_EXIT)]
    head = [
        *(_instruction(_LOAD_WORD, register, 1, 4 * place) for place, register in enumerate((2, 3, 4))),
        _instruction(_AND, 2, 0, 0, 0xFFFF),
        _instruction(_JUMP_IF_NOT, 2, 0, len(tests), _CHARACTER),
    ]
    return b"".join([*head, *tests, _instruction(_SET, 0, 0, 0, 0), _instruction(_EXIT)])


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | to, offset, value)


def _bpf(command: int, attributes: bytes) -> int:
    filled = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    found = libc().syscall(_BPF[platform.machine()], command, filled, ctypes.c_size_t(_ATTRIBUTES))
    if found < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, f"bpf: {os.strerror(failed)}")
    return found
