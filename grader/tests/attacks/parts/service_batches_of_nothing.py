"""Calls the model with no rows, other dtypes, NaN, views, half a gigabyte and things that are no batch.

Must: earn nothing; each call is refused or answered, and the examiner goes on.
"""

FAMILY = "service"
FAST = True
TARGET = "service"
GROWS = 800

import socket

import torch

BATCHES = [
    torch.zeros(0, 4),
    torch.zeros(0, 1 << 30),
    torch.zeros(4, dtype=torch.int64),
    torch.full((8, 4), float("nan")),
    torch.zeros(2, 4, dtype=torch.complex64),
    torch.zeros(1, 1).expand(8, 4),
    torch.zeros([1] * 30),
    torch.zeros(1_000_000, 4),
    torch.zeros(8, 4).to_sparse(),
    "text",
    b"bytes",
    {"rows": 1},
    [[[[]]]],
    10**4000,
    None,
    object(),
]


def serve(port, model):
    with socket.create_server(("127.0.0.1", port)) as server:
        for batch in BATCHES:
            try:
                model(batch)
            except Exception as error:
                print(type(error).__name__, str(error)[:100])
        one, _ = server.accept()
        one, _ = server.accept()
        one.close()
