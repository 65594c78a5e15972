"""Writes to /proc/sys, /proc/sysrq-trigger, /proc/self and /sys, wherever it may.

Must: change nothing outside its own process.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import os

from honest import count as right

OWN = {
    "comm",
    "clear_refs",
    "coredump_filter",
    "oom_adj",
    "oom_score_adj",
    "timerslack_ns",
    "autogroup",
    "sched",
}


def count(text):
    written = []
    for top, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                with open(f"{top}/{name}", "rb+", buffering=0) as file:
                    file.write(file.read() or b"0")
                written.append(f"{top}/{name}")
            except OSError:
                continue
    for path in (
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj",
        "/proc/irq",
        "/sys/power/state",
        "/proc/kcore",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/vda",
        "/dev/sda",
        "/dev/ptmx",
    ):
        try:
            os.close(os.open(path, os.O_WRONLY))
            written.append(path)
        except OSError:
            continue
    if written:
        print("writable:", written)
        return {}
    return right(text)
