"""A transformer whose layers are split over ranks: by columns, by rows, by heads, and the loss by vocabulary.

No module is written anew. Attention and MLP are the same with fewer heads and inner units, between two operators: one
that lets the gradients of all ranks meet, and one that lets their outputs meet.

Shoeybi et al., Megatron-LM: training multi-billion parameter language models using model parallelism, 2019.
"""

import contextlib
import copy
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn

from effdl.transformer import MLP, Attention, Config, Transformer, next_token_loss, text_batch
from week04_large_models.traffic import Collectives, Sockets


class Enter(torch.autograd.Function):
    """From what all ranks have to what each has for itself: nothing to do forward, a sum of gradients backward."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class Leave(torch.autograd.Function):
    """From terms, one on each rank, to their sum on all: a sum forward, nothing to do backward."""

    @staticmethod
    def forward(ctx, x):
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Parallel(nn.Module):
    """One rank's part of an attention or MLP. Its last layer has no bias: that is added once, after the sum.

    Dropout inside the part draws from random numbers of this rank alone, because its heads are this rank's alone.
    Outside, all ranks must draw the same, as they hold the same tensors.
    """

    def __init__(self, part: nn.Module, bias: nn.Parameter):
        super().__init__()
        self.part, self.bias = part, bias
        generator = torch.Generator().manual_seed(1 + dist.get_rank())
        self.random = generator.get_state()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape, equal on all ranks as x is."""
        with self._own_random_numbers():
            term = self.part(Enter.apply(x))
        return Leave.apply(term) + self.bias

    @contextlib.contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.random)
            yield
            self.random = torch.get_rng_state()


def columns(layer: nn.Linear, groups: int = 1) -> nn.Linear:
    """This rank's share of the outputs of a layer. In each of `groups` stacked matrices the same share is taken."""
    weight = layer.weight.detach().view(groups, -1, layer.in_features)
    bias = layer.bias.detach().view(groups, -1)
    return _linear(_share(weight, 1).flatten(0, 1), _share(bias, 1).flatten())


def rows(layer: nn.Linear) -> nn.Linear:
    """This rank's share of the inputs of a layer, without its bias: the outputs are terms of a sum."""
    return _linear(_share(layer.weight.detach(), 1), None)


def split_attention(attention: Attention) -> Parallel:
    """The heads of this rank. Raises ValueError if heads do not divide among the ranks."""
    if attention.heads % dist.get_world_size():
        raise ValueError(f"{attention.heads} heads do not divide among {dist.get_world_size()} ranks")
    part = copy.deepcopy(attention)
    part.heads = attention.heads // dist.get_world_size()
    # Query, key and value are three matrices in one; a share of each makes whole heads.
    part.qkv, part.out = columns(attention.qkv, groups=3), rows(attention.out)
    return Parallel(part, attention.out.bias)


def split_mlp(mlp: MLP) -> Parallel:
    """The inner units of this rank: its columns of `up`, which are its rows of `down`."""
    part = copy.deepcopy(mlp)
    part.up, part.down = columns(mlp.up), rows(mlp.down)
    return Parallel(part, mlp.down.bias)


class ParallelLogits(nn.Module):
    """The last layer for this rank's part of the vocabulary: (batch, length, width) to (batch, length, part)."""

    def __init__(self, logits: nn.Linear):
        super().__init__()
        self.part = columns(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the tokens of this rank only."""
        return self.part(Enter.apply(x))


def split(model: Transformer) -> Transformer:
    """Replace attention, MLP and logits of a model by this rank's parts; outputs are logits of a part of the tokens.

    Embedding and norms stay whole on every rank. Their gradients are equal on all ranks and need no sum.
    """
    for block in model.blocks:
        block.attention, block.mlp = split_attention(block.attention), split_mlp(block.mlp)
    model.head.logits = ParallelLogits(model.head.logits)
    return model


def vocabulary_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`next_token_loss` of logits that are spread over ranks by vocabulary; three numbers of each token travel.

    logits (batch, length, part), targets (batch, length) int64 with numbers of the whole vocabulary.
    """
    largest = logits.detach().amax(-1)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    shifted = logits - largest[..., None]
    total = Leave.apply(shifted.exp().sum(-1))
    place = targets - dist.get_rank() * logits.shape[-1]
    mine = (place >= 0) & (place < logits.shape[-1])
    found = shifted.gather(-1, place.clamp(0, logits.shape[-1] - 1)[..., None])[..., 0]
    return (total.log() - Leave.apply(found * mine)).mean()


def compare_on_rank(config: Config, batch: int) -> dict:
    """A split model against the whole one, on a rank: largest differences, and collectives by name.

    Differences are those of the loss, of a block's output, and of the gradients of everything that the rank holds.
    """
    tokens, targets = text_batch(0, batch, config.length)
    whole, parts = Transformer(config), split(Transformer(config))
    x = whole.embedding(tokens).detach()
    with Collectives() as one_block:
        y = parts.blocks[0](x)
    with Collectives() as forward:
        logits = parts(tokens)
    with Sockets() as wire, Collectives() as of_loss:
        loss = vocabulary_loss(logits, targets)
    with Collectives() as backward:
        loss.backward()
    expected = next_token_loss(whole(tokens), targets)
    expected.backward()
    return {
        "output": _largest(y, whole.blocks[0](x)),
        "loss": _largest(loss, expected),
        "gradients": max(map(_largest, gradients(parts), gradients(whole, cut=True))),
        "one block": one_block.names,
        "forward": forward.names,
        "backward": backward.names,
        "of the loss": of_loss.names,
        "loss bytes": wire.sent,
        "logits bytes": tokens.numel() * config.vocabulary * 4,
    }


def gradients(model: Transformer, cut: bool = False) -> list[torch.Tensor]:
    """Gradients of a model that was split, or this rank's share of those of a whole model, in the same order."""
    found = [p.grad for p in model.embedding.parameters()]
    for block in model.blocks:
        for norm in (block.norm1, block.norm2):
            found += [norm.weight.grad, norm.bias.grad]
        if cut:
            found += _cut(block.attention.qkv, 3) + _cut(block.mlp.up)
            found += [_share(layer.weight.grad, 1) for layer in (block.attention.out, block.mlp.down)]
            found += [block.attention.out.bias.grad, block.mlp.down.bias.grad]
        else:
            attention, mlp = block.attention, block.mlp
            found += [p.grad for layer in (attention.part.qkv, mlp.part.up) for p in layer.parameters()]
            found += [attention.part.out.weight.grad, mlp.part.down.weight.grad]
            found += [attention.bias.grad, mlp.bias.grad]
    head = model.head
    found += [p.grad for p in head.norm.parameters()]
    return found + (_cut(head.logits) if cut else [p.grad for p in head.logits.part.parameters()])


def _cut(layer: nn.Linear, groups: int = 1) -> list[torch.Tensor]:
    """The gradients of a whole layer, cut as `columns` cuts the layer."""
    weight, bias = layer.weight.grad.view(groups, -1, layer.in_features), layer.bias.grad.view(groups, -1)
    return [_share(weight, 1).flatten(0, 1), _share(bias, 1).flatten()]


def _share(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """This rank's part along a dimension. Raises ValueError if the ranks cannot have parts of one size."""
    if tensor.shape[dim] % dist.get_world_size():
        raise ValueError(f"{tensor.shape[dim]} does not divide among {dist.get_world_size()} ranks")
    return tensor.chunk(dist.get_world_size(), dim)[dist.get_rank()]


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


def _largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().abs().max())
