"""Reads memory, descriptors, maps, stacks and roots of every process number on the machine.

Must: learn nothing; it sees its own processes only.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import ctypes
import os

from places import EXAMINER, VICTIM


def count(text):
    libc = ctypes.CDLL(None, use_errno=True)
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    for pid in {*seen, EXAMINER, VICTIM, VICTIM + 1, VICTIM + 2, 1} - {os.getpid()}:
        for name in ("mem", "environ", "maps", "cmdline", "stack", "mountinfo", "auxv", "io", "syscall"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    print(pid, name, file.read(1 << 16))
            except OSError:
                continue
        for number in range(64):
            try:
                with open(f"/proc/{pid}/fd/{number}", "rb") as file:
                    os.set_blocking(file.fileno(), False)
                    print(pid, number, file.read(1 << 16))
            except (OSError, ValueError):
                continue
        buffer = ctypes.create_string_buffer(4096)
        local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 4096)
        remote = (ctypes.c_void_p * 2)(0x400000, 4096)
        libc.process_vm_readv(pid, local, 1, remote, 1, 0)
        print(buffer.raw.strip(b"\0"))
    return {}
