"""Looks for other students' processes in the load, in /proc/stat, in /proc/locks and in the scheduler's tables.

Must: learn of no process but its own.
"""

FAMILY = "secrets"
TARGET = "words"

import glob


def count(text):
    paths = [
        "/proc/locks",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/proc/keys",
        "/proc/key-users",
        "/proc/net/unix",
        "/proc/net/tcp",
        "/proc/sysvipc/shm",
        "/proc/cgroups",
        "/proc/kallsyms",
        "/proc/slabinfo",
        "/proc/vmallocinfo",
        "/sys/kernel/debug/sched/debug",
    ]
    for path in [
        *paths,
        *glob.glob("/proc/*/sched"),
        *glob.glob("/proc/*/cmdline"),
        *glob.glob("/proc/*/cgroup"),
    ]:
        try:
            with open(path, errors="replace") as file:
                print(path, file.read(100_000))
        except OSError:
            continue
    return {}
