"""Sends descriptors along with its answer, which fill the table of whoever receives them.

Must: leave the examiner no descriptor.
"""

FAMILY = "harm"
TARGET = "words"
HONEST = True
DESERVES = 2

import array
import os
import socket

from honest import count as right


def count(text):
    rights = array.array("i", [0] * 250)
    for descriptor in (1, 2):
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def sendall(sock, message):
        sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    socket.socket.sendall = sendall
    return right(text)
