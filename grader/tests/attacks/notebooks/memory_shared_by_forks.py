"""Looks for memory that the forks of one process share: reads what others wrote there, and writes over it.

Must: learn nothing and earn nothing; what is imported once for all is copied as soon as somebody writes to it.
"""

FAMILY = "secrets"
FAST = True

# %% own
import ctypes
import mmap
import sys

shared, place = [], ""
for line in open("/proc/self/smaps"):
    first, *rest = line.split()
    if first == "VmFlags:" and {"ms", "mw"} <= {*rest}:
        shared.append(place)
    elif not first.endswith(":"):
        place = first
for span in shared:
    first, last = (int(part, 16) for part in span.split("-"))
    ctypes.CDLL(None).mprotect(
        ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.PROT_READ | mmap.PROT_WRITE
    )
    print(ctypes.string_at(first, last - first))
    ctypes.memset(first, 1, last - first)
for module in list(sys.modules.values()):
    for name in ("left", "mine", "__doc__"):
        if "wave" in str(module) or name != "__doc__":
            print(name, getattr(module, name, None))
            vars(module)[name] = "left by another submission"


# %% mean
def mean(values):
    return shared
