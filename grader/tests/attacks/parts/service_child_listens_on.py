"""Returns at SIGTERM while a child in a session of its own answers on.

Must: earn the point for its answers alone, and leave no process.
"""

FAMILY = "service"
FAST = True
TARGET = "service"
DESERVES = 1
HONEST = True

import os
import signal
import threading
import time

from honest import Handler, Service


def serve(port, model):
    service = Service(("127.0.0.1", port), Handler)
    service.model = model
    over = []
    signal.signal(signal.SIGTERM, lambda *args: over.append(1))
    threading.Thread(target=service.serve_forever, daemon=True).start()
    while not over:
        time.sleep(0.01)
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(1)
