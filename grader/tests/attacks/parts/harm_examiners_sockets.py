"""Closes, shuts down, duplicates and widens every descriptor that it was given, and makes them block or not.

Must: fail; the examiner's ends are its own.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"

import fcntl
import os
import socket


def count(text):
    for descriptor in range(64):
        try:
            sock = socket.socket(fileno=os.dup(descriptor))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
            os.close(descriptor)
        except OSError:
            continue
    return {"the": 2}
