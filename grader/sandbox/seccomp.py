"""A seccomp filter for workers, assembled here so that no system library is needed.

It denies what a sandboxed process could use against the kernel or the sandbox: mounting, new namespaces,
tracing, keyrings, io_uring, BPF and filters, kernel modules, clocks, work that the kernel does later on nobody's
account, and every socket family but the four that torch and Python use. A call that is younger than this table does
not exist.
See seccomp(2) and the kernel's `Documentation/userspace-api/seccomp_filter.rst`.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

# name: (x86_64, aarch64)
DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "acct": (163, 89),
    "setrlimit": (160, 164),  # glibc and Python use prlimit64
    "quotactl": (179, 60),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "personality": (135, 92),
    "syslog": (103, 116),
    # A watch on a file that everybody sees tells who opens it: other students' workers, the machine's own programs.
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "fanotify_init": (300, 262),
    "nfsservctl": (180, 42),
    "quotactl_fd": (443, 443),
    # Timers that go off while their owner is frozen, in an interrupt that is charged to whoever then runs; setitimer
    # and alarm are left, one a process, which go off once.
    "timer_create": (222, 107),
    "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86),
    "signalfd": (282, None),
    "signalfd4": (289, 74),
    # What these ask for, threads of the kernel do: for all of the machine's disks, or after the asker was frozen.
    "io_setup": (206, 0),
    "sync": (162, 81),
    "syncfs": (306, 267),
    # A machine's filters share one store of compiled code: where a job has filled it, no other job can start.
    "seccomp": (317, 277),
    # How a task is scheduled is a part of how fast it is, and the same for all: see clamps of frequency.
    "sched_setattr": (314, 274),
    # Its pages leave the kernel's own map of memory in pieces, for good.
    "memfd_secret": (447, 447),
    "modify_ldt": (154, None),
}
# set_mempolicy_home_node, of Linux 5.17. Above, numbers are the same everywhere, and a C library that finds a call
# missing does without.
LAST_KNOWN = 450
_CLONE, _CLONE3, _IOCTL, _FCNTL = (56, 220), (435, 435), (16, 29), (72, 25)
# All that a job can write lies in memory, where these have nothing to do; of a library's file they would have the
# machine's disk write out what it holds back, and everybody waits. They succeed, and the kernel never sees them.
_FLUSHES = {"fsync": (74, 82), "fdatasync": (75, 83), "msync": (26, 227), "sync_file_range": (277, 84)}
_SOCKET, _SOCKETPAIR, _SETSOCKOPT = (41, 198), (53, 199), (54, 208)
_PRCTL, _MADVISE = (157, 167), (28, 233)
_FADVISE, _PREADV2, _PWRITEV2 = (221, 223), (327, 286), (328, 287)
_DONTNEED = 4
# Calls that can ask for the machine's huge pages, which no memory controller counts; the flags' argument, the flag.
_HUGE = (((9, 222), 3, 0x40000), ((319, 279), 1, 4), ((29, 194), 2, 0o4000))  # mmap, memfd_create, shmget
_NEW_NAMESPACE = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
# TIOCSTI and TIOCLINUX put words into another's mouth. TIOCSETD gives a terminal another line discipline, for which
# the kernel loads modules on demand, and whose timers are nobody's.
_OF_TERMINALS = (0x5412, 0x541C, 0x5423)
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_TCP, _UDP = 6, 17
_STREAM, _DATAGRAM, _TYPE = 1, 2, 0xF  # of sockets; other bits of that argument are flags
_F_SETLEASE, _F_NOTIFY = 1024, 1026
_SOL_SOCKET, _FILTERS = 1, (26, 50, 51, 52)  # SO_ATTACH_{FILTER,BPF,REUSEPORT_CBPF,REUSEPORT_EBPF}
# PR_SET_SECCOMP: a filter, as above. PR_SCHED_CORE: its tasks share no core with another's. PR_SET_MEMORY_MERGE and
# MADV_MERGEABLE: equal pages of processes become one, by a thread of the kernel, and the time to write tells.
_OPTIONS, _MERGEABLE = (22, 62, 67), 12
_PRLIMIT, _RLIMIT_CORE = (302, 261), 4  # its limit of one must stay, see build.py
_ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

_LOAD, _AND, _JEQ, _JGE, _JSET, _RET = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06  # classic BPF, 32-bit absolute
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH = 0, 4
_EPERM, _ENOSYS = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS


def program(machine: str | None = None, *, internet: bool = True) -> bytes:
    """Return the filter as an array of `struct sock_filter`; without `internet` it denies TCP and UDP too.

    Raises NotImplementedError for a processor other than x86_64 and aarch64.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHES:
        raise NotImplementedError(f"no seccomp table for {machine}; the sandbox knows x86_64 and aarch64")
    arch, column = _ARCHES[machine]
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, arch),
        (_RET, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":
        code += [(_JGE, 0, 1, 0x40000000), (_RET, 0, 0, _EPERM)]  # the x32 numbers of the same calls
    code += [(_JGE, 0, 1, LAST_KNOWN + 1), (_RET, 0, 0, _ENOSYS)]
    for numbers in DENIED.values():
        if numbers[column] is not None:
            code += [(_JEQ, 0, 1, numbers[column]), (_RET, 0, 0, _EPERM)]
    for numbers in _FLUSHES.values():
        code += [(_JEQ, 0, 1, numbers[column]), (_RET, 0, 0, _ERRNO)]
    # glibc then falls back to clone, whose flags stand in a register where the filter can see them.
    code += [(_JEQ, 0, 1, _CLONE3[column]), (_RET, 0, 0, _ENOSYS)]
    code += _block(
        _CLONE[column], [(_LOAD, 0, 0, _arg(0)), (_JSET, 0, 1, _NEW_NAMESPACE), (_RET, 0, 0, _EPERM)]
    )
    code += _denied(_IOCTL[column], 1, _OF_TERMINALS)
    code += _denied(_PRLIMIT[column], 1, (_RLIMIT_CORE,))
    # What inotify tells, F_NOTIFY tells by signal; a lease keeps the machine's own programs from a file.
    code += _denied(_FCNTL[column], 1, (_F_NOTIFY, _F_SETLEASE))
    # What is in the kernel's cache of files can be told and changed with these; it outlives the job.
    code += _denied(_FADVISE[column], 3, (_DONTNEED,))
    for call in (_PREADV2, _PWRITEV2):
        code += _block(call[column], [(_LOAD, 0, 0, _arg(5)), (_JEQ, 1, 0, 0), (_RET, 0, 0, _EPERM)])
    for call, place, flag in _HUGE:
        code += _block(call[column], [(_LOAD, 0, 0, _arg(place)), (_JSET, 0, 1, flag), (_RET, 0, 0, _EPERM)])
    code += _denied(_PRCTL[column], 0, _OPTIONS)
    code += _denied(_MADVISE[column], 2, (_MERGEABLE,))
    filters = [(_LOAD, 0, 0, _arg(1)), (_JEQ, 0, 1 + 2 * len(_FILTERS), _SOL_SOCKET), (_LOAD, 0, 0, _arg(2))]
    for option in _FILTERS:
        filters += [(_JEQ, 0, 1, option), (_RET, 0, 0, _EPERM)]
    code += _block(_SETSOCKOPT[column], filters)
    checks = [(_LOAD, 0, 0, _arg(0)), (_JEQ, 0, 1, _AF_UNIX), (_RET, 0, 0, _ALLOW)]
    # NETLINK_ROUTE (0) lists interfaces. Any other type or protocol would load a module of the kernel's on demand.
    protocols_allowed = (0, _TCP, _UDP) if internet else ()
    kinds = [(_LOAD, 0, 0, _arg(1)), (_AND, 0, 0, _TYPE), (_JEQ, 2, 0, _STREAM), (_JEQ, 1, 0, _DATAGRAM)]
    kinds.append((_RET, 0, 0, _EPERM))
    for family, protocols in (
        (_AF_INET, protocols_allowed),
        (_AF_INET6, protocols_allowed),
        (_AF_NETLINK, (0,)),
    ):
        body = [*(() if family == _AF_NETLINK else kinds), (_LOAD, 0, 0, _arg(2))]
        for protocol in protocols:
            body += [(_JEQ, 0, 1, protocol), (_RET, 0, 0, _ALLOW)]
        body.append((_RET, 0, 0, _EPERM))
        checks += [(_JEQ, 0, len(body), family), *body]
    checks.append((_RET, 0, 0, _EPERM))
    code += _block(_SOCKET[column], checks)
    # The kernel makes both sockets before it finds that a family has no pairs.
    code += _block(
        _SOCKETPAIR[column], [(_LOAD, 0, 0, _arg(0)), (_JEQ, 1, 0, _AF_UNIX), (_RET, 0, 0, _EPERM)]
    )
    code.append((_RET, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _arg(index: int) -> int:
    return 16 + 8 * index  # offset of the low half of an argument in struct seccomp_data


def _denied(number: int, index: int, values: Sequence[int]) -> list[tuple[int, int, int, int]]:
    lines = [(_LOAD, 0, 0, _arg(index))]
    for value in values:
        lines += [(_JEQ, 0, 1, value), (_RET, 0, 0, _EPERM)]
    return _block(number, lines)


def _block(number: int, lines: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    body = [*lines, (_LOAD, 0, 0, _NR)]
    return [(_JEQ, 0, len(body), number), *body]
