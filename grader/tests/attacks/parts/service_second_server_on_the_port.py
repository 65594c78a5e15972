"""Lets a second server listen on the same port, which answers half of the questions with what it made up.

Must: earn nothing for answers that are wrong half of the time.
"""

FAMILY = "service"
FAST = True
TARGET = "service"
HONEST = True

import os
import socket

import honest


def serve(port, model):
    class Service(honest.Service):
        allow_reuse_port = True

        def server_bind(self):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            super().server_bind()

    if os.fork() == 0:
        service = Service(("127.0.0.1", port), honest.Handler)
        service.model = lambda rows: [0.0] * len(rows)
        service.serve_forever()
    honest.Service = Service
    honest.serve(port, model)
