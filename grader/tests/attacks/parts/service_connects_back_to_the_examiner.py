"""Serves honestly, and knocks at the examiner: at the address that asked, at what lies open, at every process.

Must: earn its points, and reach nobody.
"""

FAMILY = "service"
FAST = True
TARGET = "service"
DESERVES = 2
HONEST = True

import array
import os
import socket
import threading

import honest
from places import ABSTRACT, EXAMINER, PATHS, PORT


class Handler(honest.Handler):
    def setup(self):
        super().setup()
        host, port = self.client_address
        for there in ((host, port), (host, port + 1), ("127.0.0.1", PORT)):
            try:
                socket.create_connection(there, 0.05).sendall(b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                continue
        for path in [*PATHS, f"/proc/{EXAMINER}/mem", "/proc/1/mem", "/proc/1/fd/3"]:
            try:
                print(open(path, "rb").read(1000))
            except OSError:
                continue
        try:
            with socket.socket(socket.AF_UNIX) as unix:
                unix.connect("\0" + ABSTRACT)
        except OSError:
            pass
        for pid in {1, EXAMINER, *map(int, filter(str.isdigit, os.listdir("/proc")))} - {os.getpid()}:
            try:
                os.kill(pid, 9)
            except OSError:
                continue


def serve(port, model):
    honest.Handler = Handler
    honest.serve(port, model)
