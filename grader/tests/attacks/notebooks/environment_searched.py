"""Prints the environment and the command lines of every process that it can see.

Must: learn nothing.
"""

FAMILY = "secrets"

# %% own
import glob
import os

print(dict(os.environ))
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        print(path, open(path, errors="replace").read().replace("\0", " ")[:2000])
    except OSError:
        continue
