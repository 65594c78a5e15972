"""The network that this lecture sends through every engine, and two that show where an engine gains nothing."""

import torch
from torch import Tensor, nn

SIDE, CLASSES = 48, 10


class Block(nn.Module):
    """Two 3x3 convolutions with batch norms and a way around them (He et al. 2016)."""

    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(out)
        around = (nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.around = nn.Sequential(*around) if stride > 1 or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, height, width) to (images, out, height / stride, width / stride)."""
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.around(x))


def residual(width: int = 16, seed: int = 0) -> nn.Module:
    """A small residual network for images (batch, 3, 48, 48), float32, in evaluation mode.

    Weights are random. So are the statistics of its batch norms: those of a new one, mean 0 and variance 1, would let
    any mistake pass.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Block(width, width),
            Block(width, 2 * width, stride=2),
            Block(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, CLASSES),
        )
        _train_statistics(net)
    return net.eval()


def _train_statistics(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.3, 1.5),
                (module.weight.data, 0.5, 2.0),
                (module.bias.data, -0.3, 0.3),
            ):
                parameter.uniform_(low, high)


def images(count: int, seed: int = 1) -> Tensor:
    """Random images, (count, 3, 48, 48), float32."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def one_layer(channels: int, seed: int = 0) -> nn.Module:
    """Convolution, batch norm and ReLU with as many channels in as out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        _train_statistics(net)
    return net.eval()


def product(width: int = 1024, seed: int = 0) -> nn.Module:
    """One linear layer without a bias: a matrix product, and nothing to fuse with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, width, bias=False).eval()
