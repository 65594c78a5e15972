"""Mixture of experts: a gate sends each token to two of many MLPs, whose owners are reached by all-to-all.

Lepikhin et al., GShard, ICLR 2021: top-2 gate, capacity, balance loss. Theirs drops some second choices at random;
this one keeps all for which there is room, so that a result depends on nothing but the input. `Dropless` is what came
after: no buffers of a fixed size (Gale et al., MegaBlocks, MLSys 2023), a shared expert that every token uses (Dai et
al., DeepSeekMoE, 2024), and balance by a bias that only the choice sees (Wang et al., 2024).
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.traffic import Collectives, Sockets


@dataclass(frozen=True)
class Routing:
    """Where T tokens go. The first column of each (T, 2) tensor is the first choice."""

    experts: torch.Tensor  # (T, 2) int64
    slots: torch.Tensor  # (T, 2) int64, the place in the expert's buffer; from `capacity` on there is none
    weights: torch.Tensor  # (T, 2), what the answers are multiplied with; zero for a choice that was dropped
    balance: (
        torch.Tensor
    )  # scalar: 1 where every expert gets the same, up to the number of experts for one only
    capacity: int  # tokens that an expert takes from this group

    @property
    def kept(self) -> torch.Tensor:
        """(T, 2) bool: is there room for the choice?"""
        return self.slots < self.capacity


def route(logits: torch.Tensor, capacity: int) -> Routing:
    """GShard's gate for a group of tokens: logits (T, experts) to the two best experts of each token.

    All first choices take their places before any second choice, in the order of the tokens.
    """
    count = logits.shape[1]
    gates = logits.softmax(-1)
    best, experts = gates.topk(2)
    in_order = F.one_hot(experts.T.flatten(), count)  # (2 T, experts): first choices, then second
    taken = in_order.cumsum(0) - 1
    slots = (taken * in_order).sum(1).view(2, -1).T
    weights = best / best.sum(1, keepdim=True) * (slots < capacity)
    share = (
        in_order[: len(logits)].float().mean(0)
    )  # of first choices; counts have no gradient, the gates have
    balance = count * (share * gates.mean(0)).sum()
    return Routing(experts, slots, weights, balance, capacity)


def dispatch(x: torch.Tensor, routing: Routing, count: int) -> torch.Tensor:
    """Copies of the tokens x (T, width) in their experts' buffers: (count, capacity, width), zeros elsewhere."""
    token, choice = routing.kept.nonzero(as_tuple=True)
    place = routing.experts[token, choice] * routing.capacity + routing.slots[token, choice]
    buffers = x.new_zeros(count * routing.capacity, x.shape[1]).index_copy(0, place, x[token])
    return buffers.view(count, routing.capacity, -1)


def combine(answers: torch.Tensor, routing: Routing) -> torch.Tensor:
    """The weighted sum of a token's two answers: (count, capacity, width) to (T, width)."""
    slots = routing.slots.clamp(max=routing.capacity - 1)  # a dropped choice reads some answer, times zero
    found = answers[routing.experts, slots]
    return (found * routing.weights.unsqueeze(-1)).sum(1)


class MixtureOfExperts(nn.Module):
    """`count` MLPs of width -> inner -> width in the place of one, of which each token uses two.

    `factor` sets the room of an expert, in units of its fair share of the choices. After a forward pass, `routing`
    holds the last routing. Raises ValueError for fewer than two experts.
    """

    def __init__(self, width: int, inner: int, count: int, factor: float = 1.25, seed: int = 0):
        super().__init__()
        if count < 2:
            raise ValueError(f"count={count}: each token goes to two experts, so give at least 2")
        generator = torch.Generator().manual_seed(seed)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(shape[-2]))

        self.count, self.factor = count, factor
        self.gate = weight(width, count)
        self.up, self.down = weight(count, width, inner), weight(count, inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape. All tokens form one group."""
        tokens = x.flatten(0, -2)
        capacity = math.ceil(2 * len(tokens) / self.count * self.factor)
        self.routing = route(tokens @ self.gate, capacity)
        buffers = dispatch(tokens, self.routing, self.count)
        return combine(self.answers(buffers), self.routing).view(x.shape)

    def answers(self, buffers: torch.Tensor) -> torch.Tensor:
        """What each expert makes of its buffer: (experts, places, width) to the same shape."""
        return F.gelu(buffers @ self.up) @ self.down

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        """The specification: every expert answers every token, and the gate picks. (T, width) to the same shape."""
        routing = route(x @ self.gate, len(x))
        every = self.answers(x.expand(self.count, *x.shape))
        chosen = every[routing.experts, torch.arange(len(x)).unsqueeze(1)]
        return (chosen * routing.weights.unsqueeze(-1)).sum(1)


class Exchange(torch.autograd.Function):
    """All-to-all: part i of the first dimension goes to rank i; from each rank comes one part. Its own backward."""

    @staticmethod
    def forward(ctx, x):
        received = torch.empty_like(x)
        dist.all_to_all_single(received, x.contiguous())
        return received

    @staticmethod
    def backward(ctx, gradient):
        return Exchange.forward(ctx, gradient.contiguous())


class ExpertParallel(MixtureOfExperts):
    """This rank's share of the experts of `whole`, and the gate. Tokens are the rank's own, one group per rank.

    Raises ValueError if the experts do not divide among the ranks.
    """

    def __init__(self, whole: MixtureOfExperts):
        nn.Module.__init__(self)
        world, rank = dist.get_world_size(), dist.get_rank()
        if whole.count % world:
            raise ValueError(f"{whole.count} experts do not divide among {world} ranks")
        self.count, self.factor = whole.count, whole.factor
        self.gate = nn.Parameter(whole.gate.detach().clone())
        self.up = nn.Parameter(whole.up.detach().chunk(world)[rank].clone())
        self.down = nn.Parameter(whole.down.detach().chunk(world)[rank].clone())

    def answers(self, buffers: torch.Tensor) -> torch.Tensor:
        """Buffers (experts, capacity, width) of all experts travel to their owners, the answers travel back."""
        world, (count, capacity, width) = dist.get_world_size(), buffers.shape
        mine = Exchange.apply(buffers).view(world, count // world, capacity, width)
        by_expert = mine.transpose(0, 1).reshape(count // world, world * capacity, width)
        answers = super().answers(by_expert).view(count // world, world, capacity, width)
        return Exchange.apply(answers.transpose(0, 1).reshape(buffers.shape))


def choose(logits: torch.Tensor, bias: torch.Tensor) -> Routing:
    """The two best experts of each token by gate plus `bias`. All have room; the weights are made of gates only."""
    gates = logits.softmax(-1)
    experts = (gates.detach() + bias).topk(2).indices
    best = gates.gather(1, experts)
    share = F.one_hot(experts[:, 0], logits.shape[1]).float().mean(0)
    balance = logits.shape[1] * (share * gates.mean(0)).sum()
    nowhere = torch.zeros_like(experts)
    return Routing(experts, nowhere, best / best.sum(1, keepdim=True), balance, capacity=len(logits))


class Dropless(MixtureOfExperts):
    """Experts that take whatever comes: tokens are sorted by expert, and each expert multiplies its own stretch.

    `rate` moves a bias of each expert by so much in each training step, up where it had less than its fair share of
    the choices, down where it had more. `shared` is the inner width of an MLP that every token uses, or 0.
    """

    def __init__(self, width: int, inner: int, count: int, seed: int = 0, rate: float = 0.0, shared: int = 0):
        super().__init__(width, inner, count, seed=seed)
        self.rate = rate
        self.register_buffer("bias", torch.zeros(count))
        layers = (nn.Linear(width, shared), nn.GELU(), nn.Linear(shared, width)) if shared else ()
        self.always = nn.Sequential(*layers) if shared else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape."""
        tokens = x.flatten(0, -2)
        self.routing = choose(tokens @ self.gate, self.bias)
        choices = self.routing.experts.flatten()
        counts = choices.bincount(minlength=self.count)
        order = choices.argsort(stable=True)  # all choices of expert 0, then of expert 1, ...
        token = order // 2
        answers = self.grouped(tokens[token], counts) * self.routing.weights.flatten()[order].unsqueeze(1)
        y = torch.zeros_like(tokens).index_add(0, token, answers)
        if self.training:
            self.bias += self.rate * (counts.float().mean() - counts).sign()
        return (y if self.always is None else y + self.always(tokens)).view(x.shape)

    def grouped(self, x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """What experts make of the tokens x (choices, width), sorted by expert, `counts` of them for each.

        A GPU does it in one launch, a *grouped* matrix product (`torch.nn.functional.grouped_mm`).
        """
        stretches = zip(x.split(counts.tolist()), self.up, self.down, strict=True)
        return torch.cat([F.gelu(part @ up) @ down for part, up, down in stretches])


class ExchangeParts(torch.autograd.Function):
    """All-to-all of stretches of unequal length: `send[i]` rows go to rank i, `receive[i]` come from it."""

    @staticmethod
    def forward(ctx, x, send, receive):
        ctx.lengths = receive, send
        arrived = x.new_empty(sum(receive), *x.shape[1:])
        dist.all_to_all_single(arrived, x.contiguous(), receive, send)
        return arrived

    @staticmethod
    def backward(ctx, gradient):
        return ExchangeParts.forward(ctx, gradient, *ctx.lengths), None, None


class DroplessParallel(Dropless):
    """This rank's share of the experts of `whole`, and the gate. Raises ValueError if they do not divide."""

    def __init__(self, whole: Dropless):
        nn.Module.__init__(self)
        world, rank = dist.get_world_size(), dist.get_rank()
        if whole.count % world:
            raise ValueError(f"{whole.count} experts do not divide among {world} ranks")
        self.count, self.rate, self.always = whole.count, whole.rate, whole.always
        self.register_buffer("bias", whole.bias.clone())
        self.gate = nn.Parameter(whole.gate.detach().clone())
        self.up = nn.Parameter(whole.up.detach().chunk(world)[rank].clone())
        self.down = nn.Parameter(whole.down.detach().chunk(world)[rank].clone())

    def grouped(self, x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Two exchanges of tokens, and a small one before, which says how many will come."""
        world = dist.get_world_size()
        coming = torch.empty_like(counts)
        dist.all_to_all_single(coming, counts)
        coming = coming.view(world, -1)  # by sender, and by this rank's expert
        send, receive = counts.view(world, -1).sum(1).tolist(), coming.sum(1).tolist()
        arrived = ExchangeParts.apply(x, send, receive)
        expert = torch.arange(coming.shape[1]).repeat(world).repeat_interleave(coming.flatten())
        order = expert.argsort(stable=True)
        answers = super().grouped(arrived[order], coming.sum(0))
        self.worked = len(arrived)  # tokens that this rank's experts answered
        return ExchangeParts.apply(answers[order.argsort()], receive, send)


COMPARED = ("output", "input gradient", "gate gradient", "expert gradients")
"""What `compare_on_rank` compares."""


def compare_on_rank(
    width: int, inner: int, count: int, tokens: int, factor: float, dropless: bool = False
) -> dict:
    """On a rank: experts spread over the ranks against one process that has all of them, on every rank's tokens.

    Returns the largest difference of each of `COMPARED`, in units of its largest value; the collectives forward and
    backward; the bytes that sockets sent, and what formulas say; the share of choices that found no room; and the
    places that this rank's experts multiplied, empty ones too.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    generator = torch.Generator().manual_seed(1)
    groups, towards = torch.randn(2, world, tokens, width, generator=generator)
    whole = Dropless(width, inner, count) if dropless else MixtureOfExperts(width, inner, count, factor)
    part = DroplessParallel(whole) if dropless else ExpertParallel(whole)
    own = groups[rank].clone().requires_grad_()
    with Sockets() as out, Collectives() as forward:
        y = part(own)
    with Sockets() as home, Collectives() as backward:
        (y * towards[rank]).sum().backward()
    dist.all_reduce(part.gate.grad)  # each rank saw the choices of its own tokens only
    inputs = groups.clone().requires_grad_()
    expected = torch.stack([whole(group) for group in inputs])
    (expected * towards).sum().backward()
    mine = [y, own.grad, part.gate.grad, part.up.grad]
    theirs = [expected[rank], inputs.grad[rank], whole.gate.grad, whole.up.grad.chunk(world)[rank]]
    return dict(zip(COMPARED, map(_difference, mine, theirs), strict=True)) | {
        "forward": forward.names,
        "backward": backward.names,
        "sent": out.sent + home.sent,
        "by formula": forward.by_formula + backward.by_formula,
        "dropped": 1 - float(part.routing.kept.float().mean()),
        "worked": part.worked if dropless else count * part.routing.capacity,
    }


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).abs().max() / b.abs().max()).detach())


def bytes_sent(width: int, count: int, tokens: int, factor: float, ranks: int, itemsize: int = 4) -> float:
    """What a rank sends for one layer, forward and backward: its buffers, four times, less what stays on the rank."""
    capacity = math.ceil(2 * tokens / count * factor)
    return 4 * (ranks - 1) / ranks * count * capacity * width * itemsize


def pieces(
    step: int, tokens: int = 512, width: int = 32, kinds: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """A task of several kinds: inputs (tokens, width) around `kinds` centres, each with a linear map of its own.

    A token is its centre plus noise; its target is the kind's map of the noise.
    """
    fixed, fresh = torch.Generator().manual_seed(7), torch.Generator().manual_seed(100 + step)
    centres = torch.randn(kinds, width, generator=fixed)
    maps = torch.randn(kinds, width, width, generator=fixed) / math.sqrt(width)
    kind = torch.randint(kinds, (tokens,), generator=fresh)
    noise = torch.randn(tokens, width, generator=fresh)
    return centres[kind] + noise / 2, (noise.unsqueeze(1) @ maps[kind]).squeeze(1)


def fit_pieces(layer: nn.Module, steps: int, balance: float = 0.01) -> list[float]:
    """Squared error by step while `layer` learns the task of `pieces`; with a balance loss if it has experts."""
    optimizer = torch.optim.Adam(layer.parameters(), 3e-3)
    errors = []
    for step in range(steps):
        x, y = pieces(step)
        loss = F.mse_loss(layer(x), y)
        errors.append(float(loss.detach()))
        if isinstance(layer, MixtureOfExperts):
            loss = loss + balance * layer.routing.balance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return errors


@dataclass(frozen=True)
class Learned:
    """How a training run went: per step the loss in nats, the busiest expert's load, the share dropped."""

    losses: list[float]
    busiest: list[float]  # choices of the busiest expert, in units of its fair share; empty without experts
    dropped: list[float]
    parameters: int


def train(
    count: int,
    balance: float,
    steps: int,
    config: Config,
    batch: int = 16,
    bias: float | None = None,
    seed: int = 0,
) -> Learned:
    """Train a transformer on text in which `count` experts replace each MLP; with count=0 the MLPs stay.

    An expert is half as wide inside as the MLP, so that two of them cost a token the same arithmetic. `balance` is
    the weight of the balance loss beside that of the next character. With `bias`, experts take whatever comes, and
    that is the rate at which a bias moves. Adam, rate 3e-3. `seed` draws weights and batches.
    """
    model, layers = Transformer(config, seed), []
    if count:
        for number, block in enumerate(model.blocks):
            sizes = config.width, 2 * config.width, count
            seeded = 100 * seed + number
            block.mlp = (
                MixtureOfExperts(*sizes, seed=seeded) if bias is None else Dropless(*sizes, seeded, bias)
            )
        layers = [block.mlp for block in model.blocks]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses, busiest, dropped = [], [], []
    for step in range(steps):
        tokens, targets = text_batch(step, batch, config.length, seed)
        loss = next_token_loss(model(tokens), targets)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        (loss + balance * sum(layer.routing.balance for layer in layers)).backward()
        optimizer.step()
        if layers:
            routings = [layer.routing for layer in layers]
            loads = torch.stack([r.experts.flatten().bincount(minlength=count) for r in routings]).float()
            busiest.append(float(loads.max() / loads.mean()))
            dropped.append(1 - float(torch.stack([r.kept for r in routings]).float().mean()))
    return Learned(losses, busiest, dropped, sum(p.numel() for p in model.parameters()))
