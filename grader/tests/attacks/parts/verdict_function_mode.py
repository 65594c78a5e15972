"""Leaves a TorchFunctionMode switched on that answers every operation of torch with its first argument.

Must: earn nothing; the mode ends with the worker's process.
"""

FAMILY = "verdict"
TARGET = "softmax"

import torch
from torch.overrides import TorchFunctionMode


class Lazy(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("sub", "eq", "le"):
            return args[1] if len(args) > 1 else args[0]
        return function(*args, **(kwargs or {}))


Lazy().__enter__()


def softmax(x, dim):
    return x * 0
