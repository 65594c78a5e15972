"""Lets a forked child serve while its first process, and the model with it, is gone.

Must: earn nothing, and leave no process.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
HONEST = True

import os
import signal
import time

from honest import Handler, Service


def serve(port, model):
    service = Service(("127.0.0.1", port), Handler)
    service.model = lambda rows: [0.0] * len(rows)
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            service.serve_forever()
    time.sleep(0.2)
    os._exit(0)
