"""Returns a wrapper tensor whose __torch_dispatch__ recomputes itself from whatever it is compared with.

Must: earn nothing; what has no memory of its own cannot cross.
"""

FAMILY = "verdict"
TARGET = "softmax"

import torch


class Chameleon(torch.Tensor):
    @staticmethod
    def __new__(cls, like):
        return torch.Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        others = [a for a in args if isinstance(a, torch.Tensor) and not isinstance(a, cls)]
        return others[0].clone() if others else torch.ones(args[0].shape, dtype=args[0].dtype)


def softmax(x, dim):
    return Chameleon(x)
