"""Three ways to the same convolution, and a function that picks one by the clock."""

from collections.abc import Callable, Hashable, Mapping

import torch
import torch.nn.functional as F

from effdl import bench


def direct(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """(channels, length) with a filter (k,) for all channels to (channels, length - k + 1), by PyTorch."""
    return F.conv1d(x[:, None], w[None, None])[:, 0]


def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The same as a product of all windows with the filter."""
    return x.unfold(-1, len(w), 1) @ w


def fourier(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The same by the convolution theorem: time hardly depends on the filter's length."""
    n = x.shape[-1]
    of_filter = torch.fft.rfft(w.flip(0), n)
    return torch.fft.irfft(torch.fft.rfft(x) * of_filter, n)[:, len(w) - 1 :]


WAYS: dict[str, Callable] = {"direct": direct, "product": product, "Fourier": fourier}


class Chooser:
    """Measures all ways on the first call of each shape, and takes the fastest from then on."""

    def __init__(self, ways: Mapping[str, Callable], key: Callable[..., Hashable], pairs: int = 5):
        self.ways, self.key, self.pairs = ways, key, pairs
        self.chosen: dict[Hashable, str] = {}

    def __call__(self, *arguments):
        """The result of the way that is fastest for arguments of this key."""
        key = self.key(*arguments)
        if key not in self.chosen:
            calls = {name: lambda way=way: way(*arguments) for name, way in self.ways.items()}
            times = bench.compare(calls, pairs=self.pairs)
            self.chosen[key] = min(calls, key=times.median)
        return self.ways[self.chosen[key]](*arguments)


def shapes(*tensors: torch.Tensor) -> Hashable:
    """A key that tells every shape from every other."""
    return tuple(tensor.shape for tensor in tensors)
