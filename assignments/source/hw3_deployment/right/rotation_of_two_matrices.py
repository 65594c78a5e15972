# replaces: rotation.py
# method: two small matrices, since H of a * b is a Kronecker product; weights by the matrix Q itself
import torch


def _matrix(n, dtype):
    places = torch.arange(n)
    both = places[:, None] & places
    ones = sum((both >> bit) & 1 for bit in range(n.bit_length()))
    return (1 - 2 * (ones % 2)).to(dtype)


def hadamard(x):
    n = x.shape[-1]
    if n & (n - 1):
        raise ValueError(n)
    a = 1 << (n.bit_length() - 1) // 2
    b = n // a
    square = x.reshape(*x.shape[:-1], a, b)
    turned = _matrix(a, x.dtype) @ square @ _matrix(b, x.dtype)
    return turned.reshape(x.shape) / n**0.5


def rotate_pair(first, bias, second, signs):
    n = len(signs)
    q = _matrix(n, first.dtype) / n**0.5 * signs
    return q @ first, q @ bias, second @ q.T
