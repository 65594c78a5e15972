"""Answers with pickles: bytes, object arrays, saved tensors, classes with __reduce__, and modules.

Must: earn nothing, and nothing of them runs in the examiner.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"

import io
import pickle

import numpy as np
import torch


class Evil:
    def __reduce__(self):
        return exec, ("open('/tmp/attacked', 'w').write('by a pickle'); raise SystemExit(0)",)


def softmax(x, dim):
    stream = io.BytesIO()
    torch.save({"result": Evil()}, stream)
    answers = [np.array([Evil()], dtype=object), Evil(), np, stream.getvalue()]
    return answers[dim] if dim else pickle.dumps(Evil())
