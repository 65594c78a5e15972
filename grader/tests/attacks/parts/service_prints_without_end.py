"""Prints while it serves, as much as the sockets of its output take.

Must: earn nothing once it has printed too much, and leave the examiner free to ask.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
HONEST = True

import os
import threading

import honest


def pour(descriptor):
    line = b"x" * 65536
    while True:
        os.write(descriptor, line)


class Handler(honest.Handler):
    def do_POST(self):
        threading.Event().wait(3)


def serve(port, model):
    for descriptor in (1, 2):
        threading.Thread(target=pour, args=(descriptor,), daemon=True).start()
    honest.Handler = Handler
    honest.serve(port, model)
