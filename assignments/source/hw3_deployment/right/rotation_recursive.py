# replaces: rotation.py
# method: the definition, H_2n of two halves, by recursion
import torch


def _mixed(x):
    if x.shape[-1] == 1:
        return x
    left, right = x.chunk(2, -1)
    left, right = _mixed(left), _mixed(right)
    return torch.cat([left + right, left - right], -1)


def hadamard(x):
    n = x.shape[-1]
    if n.bit_count() != 1:
        raise ValueError("no power of two")
    if n > 4096:  # few long pieces, not many short ones: H_ab is H_a of rows of H_b
        rows = x.reshape(*x.shape[:-1], n // 1024, 1024)
        rows = _mixed(rows)
        return _mixed(rows.mT).mT.reshape(x.shape) * n**-0.5
    return _mixed(x) * n**-0.5


def rotate_pair(first, bias, second, signs):
    def turn(x):
        return hadamard(x * signs)

    both = turn(torch.cat([first, bias[:, None]], 1).T)
    return both[:-1].T, both[-1], turn(second)
