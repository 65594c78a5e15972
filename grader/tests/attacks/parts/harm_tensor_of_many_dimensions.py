"""Answers with lists of tensors of 28 dimensions, which PyTorch prints whole, and reports one as an error.

Must: fail with a sentence, at once; 268 million numbers as text take hours, and more memory than there is.
"""

FAMILY = "harm"
TARGET = "words"

import os
import socket

import torch

import grader.sandbox.wire as wire

LARGE = torch.zeros([2] * 28, dtype=torch.uint8)


def count(text):
    if "dog" in text:
        return [LARGE]
    # As the message, the file and the line of an exception.
    blobs = [LARGE.flatten().numpy().data]
    node = {"T": 0, "dtype": "uint8", "shape": [2] * 28}
    frame = wire.pack({"d": [["error", {"d": [["type", "E"], ["message", [node]], ["file", [1]]]}]]}, blobs)
    for descriptor in range(3, 20):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                sock.sendall(frame)
        except OSError:
            continue
    return {}
