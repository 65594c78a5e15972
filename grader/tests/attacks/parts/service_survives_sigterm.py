"""Serves honestly, blocks every signal that can be blocked, and never ends.

Must: earn the point for its answers, and die with its job.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
DESERVES = 1
HONEST = True

import signal

from honest import Handler, Service


def serve(port, model):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    service = Service(("127.0.0.1", port), Handler)
    service.model = model
    while True:
        service.serve_forever()
