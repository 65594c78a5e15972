"""What ReLU, pooling and convolution keep for the backward pass, in fewer bytes: the encodings of Gist.

Jain, Phanishayee, Mars, Tang and Pekhimenko, *Gist: Efficient Data Encoding for Deep Neural Network Training*,
ISCA 2018.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

_PLACES = 2 ** torch.arange(8, dtype=torch.uint8)


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """Eight booleans in a byte: a mask of n entries becomes a flat uint8 tensor of ceil(n / 8)."""
    flat = mask.flatten().to(torch.uint8)
    flat = F.pad(flat, (0, -len(flat) % 8))
    return (flat.view(-1, 8) * _PLACES.to(mask.device)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The mask that `pack_bits` was given."""
    flat = (packed[:, None] & _PLACES.to(packed.device)).ne(0).flatten()
    return flat[: shape.numel()].view(shape)


class ReluOfBits(torch.autograd.Function):
    """ReLU that keeps the sign of its input, one bit a value. Its backward pass needs nothing else."""

    @staticmethod
    def forward(ctx, x):
        """Any shape to the same shape, in place: nobody else needs what stood there."""
        ctx.mark_dirty(x.clamp_(min=0))
        ctx.save_for_backward(pack_bits(x > 0))
        ctx.shape = x.shape
        return x

    @staticmethod
    def backward(ctx, grad):
        """Let through what stands where the input was positive."""
        (packed,) = ctx.saved_tensors
        return grad * unpack_bits(packed, ctx.shape)


class PoolOfPlaces(torch.autograd.Function):
    """Max-pooling of 2 x 2 that keeps which of the four was the largest: two bits a window.

    PyTorch's keeps its input, and an int64 index for each window.
    """

    @staticmethod
    def forward(ctx, x):
        """(batch, channels, height, width), both even, to half of each."""
        out = x.new_empty(*x.shape[:-2], x.shape[-2] // 2, x.shape[-1] // 2)
        bits = torch.empty(2, *out.shape, dtype=torch.bool, device=x.device)
        # A few images at a time: PyTorch's indices take twice the bytes of its input.
        for rows in torch.arange(len(x)).split(4):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            out[part], index = F.max_pool2d(x[part], 2, return_indices=True)
            bits[0, part] = index // x.shape[-1] % 2 == 1
            bits[1, part] = index % 2 == 1
        ctx.save_for_backward(pack_bits(bits))
        ctx.shape = bits.shape
        return out

    @staticmethod
    def backward(ctx, grad):
        """Give each window's gradient to the place that it came from."""
        (packed,) = ctx.saved_tensors
        high, low = unpack_bits(packed, ctx.shape)
        back = grad.new_zeros(*grad.shape[:-2], 2 * grad.shape[-2], 2 * grad.shape[-1])
        for i in (0, 1):
            for j in (0, 1):
                back[..., i::2, j::2] = grad * ((high == bool(i)) & (low == bool(j)))
        return back


class Sparse:
    """A tensor with many zeros: a bit for each value, and the values that are not zero. Exact."""

    def __init__(self, tensor: torch.Tensor):
        mask = tensor != 0
        self.bits, self.values, self.shape = pack_bits(mask), tensor[mask], tensor.shape

    def tensor(self) -> torch.Tensor:
        """The tensor as it was."""
        return self.values.new_zeros(self.shape).masked_scatter_(
            unpack_bits(self.bits, self.shape), self.values
        )


class Reduced:
    """A tensor without negative values, on a grid of 2^bits - 1 equal steps up to its largest. Not exact.

    16 bits are float16, with no grid and no scale. 4 bits share a byte by two.
    """

    def __init__(self, tensor: torch.Tensor, bits: int):
        self.bits, self.shape, self.dtype = bits, tensor.shape, tensor.dtype
        if bits == 16:
            self.values = tensor.half()
            return
        if bits not in (4, 8):
            raise ValueError(f"bits={bits} is none of 4, 8 and 16")
        self.step = tensor.amax().clamp(min=1e-30) / (2**bits - 1)
        codes = (tensor / self.step).round_().to(torch.uint8)
        if bits == 4:
            pairs = F.pad(codes.flatten(), (0, codes.numel() % 2)).view(-1, 2)
            codes = pairs[:, 0] + 16 * pairs[:, 1]
        self.values = codes

    def tensor(self) -> torch.Tensor:
        """The tensor, rounded."""
        if self.bits == 16:
            return self.values.to(self.dtype)
        codes = self.values
        if self.bits == 4:
            codes = torch.stack([codes % 16, codes // 16], 1).flatten()[: self.shape.numel()].view(self.shape)
        return codes.to(self.dtype) * self.step


def encoded(
    encode: Callable[[torch.Tensor], "Sparse | Reduced"], at_least: int = 4096
) -> saved_tensors_hooks:
    """Within this block autograd keeps floating-point tensors of at least so many values as `encode` makes them.

    Parameters and inputs stay as they are: they are there anyway.
    """

    def pack(tensor):
        large = tensor.is_floating_point() and tensor.numel() >= at_least
        return encode(tensor.detach()) if large and not tensor.is_leaf else tensor

    return saved_tensors_hooks(
        pack, lambda kept: kept.tensor() if isinstance(kept, (Sparse, Reduced)) else kept
    )


class _Applied(nn.Module):
    """A function of autograd as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def network(channels: list[int], size: int, *, gist: bool, deep: int = 2, colours: int = 3) -> nn.Module:
    """A net in VGG's manner: stages of `deep` convolutions and a pooling, for `size` pixels a side, and ten classes.

    With `gist`, ReLU and pooling are those above.
    """
    layers: list[nn.Module] = []
    before = colours
    for width in channels:
        for _ in range(deep):
            layers += [nn.Conv2d(before, width, 3, padding=1)]
            layers += [_Applied(ReluOfBits) if gist else nn.ReLU(inplace=True)]
            before = width
        layers.append(_Applied(PoolOfPlaces) if gist else nn.MaxPool2d(2))
    left = size // 2 ** len(channels)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * left * left, 10))
