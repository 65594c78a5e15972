"""Puts fifos, a socket and a device in place of its notebook, its module and its date.

Must: keep nobody waiting; what is no regular file is not read.
"""

import os
import socket
import stat

FAMILY = "harm"
FAST = True
INTO = "submitted"
SAYS = "special file"


def make(folder, right):
    folder.mkdir()
    for name in ("lab.ipynb", "timestamp.txt", "data.csv"):
        os.mkfifo(folder / name)
    if os.geteuid() == 0:
        os.mknod(folder / "sums.py", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    here = os.getcwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("socket.py")
    os.chdir(here)
