"""A rotation that spreads outliers over all channels, hidden in the weights of two layers."""

import torch


def hadamard(x: torch.Tensor) -> torch.Tensor:
    """Return x @ H / sqrt(n) for x [..., n], where n is a power of two, in n log n operations.

    H is Hadamard's matrix in its natural order (Sylvester's): H_1 = [[1]], H_2n = [[H_n, H_n], [H_n, -H_n]].
    Raises ValueError where n is no power of two. `x` stays as it is.
    """
    ### BEGIN SOLUTION
    size = x.shape[-1]
    if size < 1 or size & (size - 1):
        raise ValueError(f"{size} is no power of two")
    mixed, half = x, 1
    while half < size:
        pairs = mixed.reshape(*x.shape[:-1], -1, 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        mixed = torch.stack([first + second, first - second], -2)
        half *= 2
    return mixed.reshape(x.shape) / size**0.5
    ### END SOLUTION


def rotate_pair(
    first: torch.Tensor, bias: torch.Tensor, second: torch.Tensor, signs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return `first`, `bias` and `second` with a rotation between them, which leaves the whole as it was.

    Two layers without anything between them: hidden = first @ x + bias, y = second @ hidden, with first [n, k],
    bias [n], second [m, n]. Afterwards the hidden vector is hadamard(signs * hidden), with signs [n] of 1 and -1,
    and y the same.
    """
    ### BEGIN SOLUTION
    columns = (signs[:, None] * first).T  # each of them is rotated as a hidden vector is
    return hadamard(columns).T.contiguous(), hadamard(signs * bias), hadamard(second * signs)
    ### END SOLUTION
