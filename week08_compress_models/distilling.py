"""Distillation into a student without convolutions, several students at once.

The students of all seeds are one batch of matrix products: eight of them train in little more than the time of one.
Each sees the same batches from the same first weights whatever it learns from, so that two ways differ in one thing.

Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015; Romero et al., FitNets, ICLR 2015;
Zagoruyko and Komodakis, Paying more attention to attention, ICLR 2017.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from week08_compress_models import small_images


class Crowd:
    """`seeds` networks of one shape, (seeds, n, features) to (seeds, n, 10), with a mask for each weight."""

    def __init__(self, widths: tuple[int, ...], seeds: int, first: int = 0):
        self.weights, self.biases = [], []
        generator = torch.Generator().manual_seed(first)
        for inner, outer in itertools.pairwise(widths):
            spread = (2 / inner) ** 0.5
            self.weights.append(torch.randn(seeds, inner, outer, generator=generator) * spread)
            self.biases.append(torch.zeros(seeds, 1, outer))
        for tensor in self.parameters():
            tensor.requires_grad_()
        self.masks = [torch.ones_like(w, requires_grad=False) for w in self.weights]

    def parameters(self) -> list[torch.Tensor]:
        """Weights and biases of all networks."""
        return [*self.weights, *self.biases]

    def layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each layer gives, after its ReLU; the last one's are the scores."""
        found = []
        for weight, bias, mask in zip(self.weights, self.biases, self.masks, strict=True):
            x = torch.baddbmm(bias, x, weight * mask)
            x = x.relu() if len(found) < len(self.weights) - 1 else x
            found.append(x)
        return found

    def accuracies(self) -> torch.Tensor:
        """Per cent of the judging pictures that each network reads rightly, (seeds,)."""
        _, _, x, y = small_images.digits()
        with torch.no_grad():
            scores = self.layers(x.flatten(1).expand(len(self.weights[0]), -1, -1))[-1]
        return 100 * (scores.argmax(-1) == y).float().mean(-1)


def soft_loss(scores: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean divergence of softened distributions, times T²: the gradient's size then hardly depends on T."""
    ours, theirs = (scores / temperature).log_softmax(-1), (wanted / temperature).softmax(-1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="none").sum(-1).mean()


def learn(
    crowd: Crowd,
    steps: int,
    labels: float,
    temperature: float = 1.0,
    features: float = 0.0,
    jitter: bool = False,
    batch: int = 64,
    peak: float = 1e-2,
) -> torch.Tensor:
    """Train all networks of a crowd; their accuracies in per cent, (seeds,).

    The loss is `labels` times cross-entropy, the rest of 1 soft targets, and `features` times the distance of a
    projection of the last hidden layer from the teacher's. With `jitter` pictures come from a pool of turned ones.
    """
    seeds = len(crowd.weights[0])
    x, y = pool() if jitter else plain()
    needs_teacher = labels < 1 or features
    wanted, hints = taught(x) if needs_teacher else (torch.zeros(0), torch.zeros(0, 1))
    generator = torch.Generator().manual_seed(1)
    projection = torch.zeros(crowd.weights[-1].shape[1], hints.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([*crowd.parameters(), projection], peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(x), (seeds, batch), generator=generator)
        *_, hidden, scores = crowd.layers(x[chosen])
        loss = labels * F.cross_entropy(scores.flatten(0, 1), y[chosen].flatten())
        if labels < 1:
            loss = loss + (1 - labels) * soft_loss(scores, wanted[chosen], temperature)
        if features:
            loss = loss + features * F.mse_loss(hidden @ projection, hints[chosen])
        optimizer.zero_grad()
        (seeds * loss).backward()
        optimizer.step()
        schedule.step()
    return crowd.accuracies()


def taught(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's scores (n, 10) for pixels (n, 64), and its last hidden layer (n, features), of unit spread."""
    network, pictures = small_images.teacher(), pixels.view(-1, 1, 8, 8)
    with torch.no_grad():
        hints = network[:-2](pictures)
        return network(pictures), (hints - hints.mean(0)) / hints.std()


def plain() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (1200, 64) and digits."""
    x, y, _, _ = small_images.digits()
    return x.flatten(1), y


def pool(copies: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, each picture in `copies` versions that are turned, zoomed and moved."""
    x, y, _, _ = small_images.digits()
    moved = small_images.jittered(x.repeat(copies, 1, 1, 1), torch.Generator().manual_seed(2))
    return moved.flatten(1), y.repeat(copies)


# Attention maps -------------------------------------------------------------------------------------------


def attention_maps(network: nn.Sequential, pictures: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Where the network looks: after each ReLU squares summed over channels, of length 1 a map; and the scores."""
    maps, x = [], pictures
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            maps.append(F.normalize(x.square().sum(1).flatten(1), dim=1))
    return maps, x


def by_attention(
    channels: tuple[int, int, int],
    steps: int,
    seeds: int,
    labels: float,
    attention: float,
    temperature: float = 4.0,
) -> list[float]:
    """Accuracies of small convolutional students, one a seed; labels, soft targets for the rest of 1, and maps."""
    found, known = [], small_images.teacher()
    x, y, _, _ = small_images.digits()
    with torch.no_grad():
        wanted, scores = attention_maps(known, x)
    for seed in range(seeds):
        student = small_images.made(lambda: small_images.convolutional(*channels), seed)

        def loss(pictures: torch.Tensor, chosen: torch.Tensor, student=student) -> torch.Tensor:
            maps, ours = attention_maps(student, pictures)
            total = labels * F.cross_entropy(ours, y[chosen])
            if labels < 1:
                total = total + (1 - labels) * soft_loss(ours, scores[chosen], temperature)
            if attention:
                pairs = zip(maps, wanted, strict=True)
                total = total + attention * sum((m - w[chosen]).square().sum(1).mean() for m, w in pairs)
            return total

        found.append(small_images.accuracy(small_images.train(student, steps, seed, loss=loss)))
    return found
