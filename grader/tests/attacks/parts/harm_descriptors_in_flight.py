"""Sends descriptors to itself and never takes them: those in flight are counted per user, not per process.

Must: leave the neighbour free to pass its own descriptors.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"
HONEST = True
DESERVES = 2

import array
import os
import socket
import time

from honest import count as right

kept = []


def fill():
    rights = array.array("i", [0] * 200)
    for _ in range(60):
        pair = socket.socketpair()
        kept.append(pair)
        pair[0].setblocking(False)
        try:
            while True:
                pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError:
            continue


def count(text):
    for _ in range(8):
        if os.fork() == 0:
            fill()
            time.sleep(2)
            os._exit(0)
    fill()
    time.sleep(1.5)
    return right(text)
