"""Decides by numbers of processes, users, addresses of objects, names and variables of the environment.

Must: earn nothing: none of them follows from the ledger.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os
import socket
import sys
import tempfile

import ledger


def test_by_numbers():
    told = (
        os.getpid(),
        os.getppid(),
        os.getuid(),
        id(ledger),
        sys.argv,
        socket.gethostname(),
        tempfile.mkdtemp(),
    )
    assert hash((repr(told), repr(sorted(os.environ.items())))) % 4
