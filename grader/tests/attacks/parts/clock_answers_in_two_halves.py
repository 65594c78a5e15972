"""Sends the first half of its answer at once and the other when it has computed it.

Must: earn no point for speed; the clock runs to the last byte.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import socket
import sys

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


wire = sys.modules["grader.sandbox.wire"]
send = socket.socket.sendall


def sendall(sock, message):
    for at in range(0, len(message), 1 << 16):
        send(sock, message[at : at + (1 << 16)])


socket.socket.sendall = sendall


def moving(x, k):
    return naive(x, k)
