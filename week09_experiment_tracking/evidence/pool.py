"""Forty-odd tests of the kit, in five styles, from which test suites are put together.

A test is a function that takes the module under test and raises where it sees a fault. Styles: `smoke` (it runs, the
shape is right), `example` (numbers worked out by hand), `property` (Hypothesis draws the inputs), `peer` (against
PyTorch's own function, on drawn inputs) and `training` (a model trains). Under pytest they would be functions
`test_...`; they take the module so that the same test can be run on hundreds of faulty kits.
It is longer than 400 lines because it is a list: fifty short tests, side by side by style.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

EXAMPLES = 20
drawn = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,  # the same draws in every run: what is compared are faults, not luck
    phases=[Phase.explicit, Phase.generate],  # a count of failures needs no smallest one
    suppress_health_check=list(HealthCheck),
)
seeds = st.integers(0, 2**31)


@dataclass(frozen=True)
class Test:
    """A test of the pool: its name, its style, the function of the kit that it is about, and what to call."""

    name: str
    style: str
    about: str
    run: Callable[[ModuleType], None]


POOL: list[Test] = []


def pool(style: str, about: str):
    """Put a test into the pool."""

    def add(run):
        POOL.append(Test(run.__name__, style, about, run))
        return run

    return add


def close(one, two, tolerance=1e-5):
    """Assert that two tensors or numbers are equal but for rounding in float32."""
    torch.testing.assert_close(
        torch.as_tensor(one, dtype=torch.float64), torch.as_tensor(two, dtype=torch.float64), rtol=tolerance,
        atol=tolerance,
    )  # fmt: skip


def random(number: int, *shape: int) -> torch.Tensor:
    """Normal numbers of a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(number))


def network(number: int = 0, dropout: float = 0.0) -> nn.Module:
    """A small classifier, 6 numbers to 4 classes, with a batch norm's buffers where there is dropout."""
    torch.manual_seed(number)
    middle = [nn.BatchNorm1d(8), nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), nn.Linear(8, 4))


def padded(number: int, rows: int, least: int = 1) -> torch.Tensor:
    """Targets of which some are padding, but never all."""
    generator = torch.Generator().manual_seed(number)
    targets = torch.randint(4, (rows,), generator=generator)
    targets[least:][torch.rand(rows - least, generator=generator) < 0.4] = -100
    return targets


# The loss


@pool("smoke", "token_loss")
def loss_is_a_finite_number(kit):
    loss = kit.token_loss(random(0, 5, 4), torch.tensor([0, 1, 2, 3, 0]))
    assert loss.shape == ()
    assert loss.isfinite()


@pool("example", "token_loss")
def loss_of_equal_logits_is_the_log_of_the_classes(kit):
    close(kit.token_loss(torch.zeros(3, 4), torch.tensor([0, 1, 3])), math.log(4))


@pool("example", "token_loss")
def loss_of_two_tokens_by_hand(kit):
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(3.0)]])
    close(kit.token_loss(logits, torch.tensor([0, 0])), -(math.log(0.75) + math.log(0.25)) / 2)


@pool("property", "token_loss")
@drawn
@given(number=seeds, more=st.integers(1, 9), smoothing=st.sampled_from([0.0, 0.1]))
def more_padding_changes_no_loss(kit, number, more, smoothing):
    logits, targets = random(number, 6, 4), padded(number, 6)
    longer = torch.cat([logits, random(number + 1, more, 4)])
    ignored = torch.cat([targets, torch.full((more,), -100)])
    close(kit.token_loss(longer, ignored, smoothing), kit.token_loss(logits, targets, smoothing))


@pool("property", "token_loss")
@drawn
@given(number=seeds, shift=st.floats(-20, 20))
def a_constant_added_to_all_logits_changes_no_loss(kit, number, shift):
    logits, targets = random(number, 6, 4), padded(number, 6)
    close(kit.token_loss(logits + shift, targets, 0.1), kit.token_loss(logits, targets, 0.1), 1e-4)


@pool("peer", "token_loss")
@drawn
@given(number=seeds, smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def loss_is_that_of_pytorch(kit, number, smoothing):
    logits, targets = random(number, 7, 4), padded(number, 7)
    close(
        kit.token_loss(logits, targets, smoothing),
        F.cross_entropy(logits, targets, label_smoothing=smoothing),
    )


# Attention


@pool("smoke", "attention")
def attention_keeps_the_shape(kit):
    q, k, v = random(0, 3, 2, 5, 8)
    assert kit.attention(q, k, v).shape == v.shape


@pool("example", "attention")
def the_first_token_sees_only_itself(kit):
    q, k, v = random(0, 3, 2, 5, 8)
    close(kit.attention(q, k, v)[:, 0], v[:, 0])


@pool("example", "attention")
def equal_keys_give_the_running_mean(kit):
    v = random(1, 1, 4, 3)
    close(kit.attention(random(0, 1, 4, 3), torch.zeros(1, 4, 3), v)[0, 3], v[0].mean(0))


@pool("property", "attention")
@drawn
@given(number=seeds, place=st.integers(0, 4), masked=st.booleans())
def the_future_changes_nothing(kit, number, place, masked):
    q, k, v = random(number, 3, 2, 6, 4)
    real = torch.ones(2, 6, dtype=torch.bool) if masked else None
    before = kit.attention(q, k, v, real)
    k, v = k.clone(), v.clone()
    k[:, place + 1 :], v[:, place + 1 :] = 9.0, -9.0
    close(kit.attention(q, k, v, real)[:, : place + 1], before[:, : place + 1])


@pool("property", "attention")
@drawn
@given(number=seeds, keep=st.integers(1, 5))
def padding_changes_nothing(kit, number, keep):
    q, k, v = random(number, 3, 2, 6, 4)
    real = torch.arange(6).expand(2, 6) < keep
    whole = kit.attention(q, k, v, real)
    close(whole[:, :keep], kit.attention(q[:, :keep], k[:, :keep], v[:, :keep]))
    other = v.clone()
    other[:, keep:] = 7.0
    close(kit.attention(q, k, other, real), whole)


@pool("peer", "attention")
@drawn
@given(number=seeds)
def attention_is_that_of_pytorch(kit, number):
    q, k, v = random(number, 3, 2, 6, 4)
    close(kit.attention(q, k, v), F.scaled_dot_product_attention(q, k, v, is_causal=True))


# The learning rate


@pool("smoke", "learning_rate")
def the_rate_is_never_negative(kit):
    assert all(kit.learning_rate(step, 1.0, 5, 50) >= 0 for step in range(50))


@pool("example", "learning_rate")
def the_warm_up_by_hand(kit):
    close([kit.learning_rate(step, 1.0, 4, 12) for step in range(5)], [0.25, 0.5, 0.75, 1.0, 1.0])


@pool("example", "learning_rate")
def half_way_down_is_half_the_peak(kit):
    close(kit.learning_rate(8, 2.0, 4, 12), 1.0)
    close(kit.learning_rate(12, 2.0, 4, 12, floor=0.5), 0.5)


@pool("property", "learning_rate")
@drawn
@given(warmup=st.integers(1, 9), more=st.integers(2, 30), peak=st.floats(0.1, 3), share=st.floats(0, 0.5))
def the_rate_rises_to_its_peak_and_falls_to_its_floor(kit, warmup, more, peak, share):
    total, floor = warmup + more, share * peak
    rates = [kit.learning_rate(step, peak, warmup, total, floor) for step in range(total + 3)]
    assert all(a < b for a, b in itertools.pairwise(rates[:warmup]))
    assert all(a > b for a, b in itertools.pairwise(rates[warmup:total]))
    assert rates[0] > 0
    close(max(rates), peak)
    close(rates[total:], [floor] * 3)


# Clipping


@pool("smoke", "clip")
def clip_returns_a_norm(kit):
    assert kit.clip([torch.ones(3), torch.ones(2)], 100.0) > 0


@pool("example", "clip")
def three_and_four_make_five(kit):
    gradients = [torch.tensor([3.0]), torch.tensor([4.0])]
    close(kit.clip(gradients, 1.0), 5.0)
    close(torch.cat(gradients), [0.6, 0.8])


@pool("property", "clip")
@drawn
@given(number=seeds, longest=st.floats(0.1, 10))
def clipping_keeps_the_direction_and_the_bound(kit, number, longest):
    before = [random(number, 4), random(number + 1, 2, 3)]
    after = [g.clone() for g in before]
    kit.clip(after, longest)
    norms = [float(torch.cat([g.flatten() for g in gs]).norm()) for gs in (before, after)]
    close(norms[1], min(norms[0], longest), 1e-4)
    for one, two in zip(before, after, strict=True):
        close(two * norms[0], one * norms[1], 1e-4)


@pool("peer", "clip")
@drawn
@given(number=seeds, longest=st.floats(0.1, 10))
def clipping_is_that_of_pytorch(kit, number, longest):
    one, two = network(number), network(number)
    for model in (one, two):
        model(random(number, 5, 6)).square().sum().backward()
    norm = kit.clip([p.grad for p in one.parameters()], longest)
    close(norm, nn.utils.clip_grad_norm_(two.parameters(), longest), 1e-4)
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        close(mine.grad, theirs.grad, 1e-4)


# Adam


@pool("smoke", "Adam")
def adam_changes_the_weights(kit):
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    kit.Adam([weight]).step(0.1)
    assert (weight != 1).all()


@pool("example", "Adam")
def the_first_update_is_as_long_as_the_rate(kit):
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    weight.grad = torch.tensor([5.0, -0.01])
    kit.Adam([weight]).step(0.1)
    close(weight.detach(), [0.9, 1.1], 1e-4)


@pool("property", "Adam")
@drawn
@given(number=seeds, factor=st.floats(0.1, 100))
def scaled_gradients_give_the_same_weights(kit, number, factor):
    ends = []
    for scale in (1.0, factor):
        weight = nn.Parameter(random(number, 4))
        adam = kit.Adam([weight], decay=0.1)
        for step in range(5):
            weight.grad = scale * (random(number + step, 4).abs() + 0.1)
            adam.step(0.01)
        ends.append(weight.detach())
    close(ends[0], ends[1], 1e-4)


@pool("peer", "Adam")
@drawn
@given(number=seeds, eps=st.sampled_from([1e-8, 1e-2]), decay=st.sampled_from([0.0, 0.1]))
def adam_is_that_of_pytorch(kit, number, eps, decay):
    mine, theirs = nn.Parameter(random(number, 4)), nn.Parameter(random(number, 4))
    one = kit.Adam([mine], eps=eps, decay=decay)
    two = torch.optim.AdamW([theirs], lr=0.05, eps=eps, weight_decay=decay)
    for step in range(4):
        mine.grad = random(number + step, 4)
        theirs.grad = mine.grad.clone()
        one.step(0.05)
        two.step()
    close(mine.detach(), theirs.detach(), 1e-4)


# Orders and batches


@pool("smoke", "order")
def an_order_has_all_places(kit):
    assert len(kit.order(10, 0, 0)) == 10


@pool("property", "order")
@drawn
@given(examples=st.integers(20, 60), number=st.integers(0, 99), epoch=st.integers(0, 99))
def orders_are_permutations_repeat_and_differ_between_epochs(kit, examples, number, epoch):
    one = kit.order(examples, number, epoch)
    assert one.sort().values.tolist() == list(range(examples))
    assert one.tolist() == kit.order(examples, number, epoch).tolist()
    assert one.tolist() != kit.order(examples, number, epoch + 1).tolist()
    assert one.tolist() != kit.order(examples, number + 1, epoch).tolist()


@pool("example", "batches")
def ten_by_five_are_two_batches(kit):
    assert [range(10)[part] for part in kit.batches(10, 5)] == [range(5), range(5, 10)]


@pool("property", "batches")
@drawn
@given(examples=st.integers(0, 40), size=st.integers(1, 12))
def batches_cover_everything_once(kit, examples, size):
    parts = [list(range(examples))[part] for part in kit.batches(examples, size)]
    assert [i for part in parts for i in part] == list(range(examples))
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


# Flipping


@pool("smoke", "flip")
def a_flip_keeps_shapes(kit):
    image, boxes = kit.flip(torch.zeros(3, 4, 5), torch.tensor([[0.0, 0, 2, 2]]))
    assert image.shape == (3, 4, 5)
    assert boxes.shape == (1, 4)


@pool("example", "flip")
def a_box_in_the_middle_stays(kit):
    boxes = torch.tensor([[3.0, 1, 7, 2]])
    close(kit.flip(torch.zeros(4, 10), boxes)[1], boxes)


@pool("example", "flip")
def a_box_at_the_left_goes_to_the_right(kit):
    close(kit.flip(torch.zeros(4, 10), torch.tensor([[0.0, 1, 3, 2]]))[1], [[7.0, 1, 10, 2]])


@pool("property", "flip")
@drawn
@given(number=seeds, left=st.integers(0, 5), width=st.integers(1, 4))
def a_box_holds_the_same_pixels_after_the_flip(kit, number, left, width):
    image, boxes = random(number, 3, 10), torch.tensor([[left, 0, left + width, 3]])
    kept = boxes.clone()
    turned, there = kit.flip(image, boxes)
    x1, _, x2, _ = there[0].tolist()
    assert 0 <= x1 < x2 <= 10
    close(turned[:, x1:x2].flip(-1), image[:, left : left + width])
    assert torch.equal(boxes, kept)


# The moving average


@pool("smoke", "Average")
def an_average_can_be_updated(kit):
    average = kit.Average(network())
    average.update(network(1))
    assert all(p.isfinite().all() for p in average.model.parameters())


@pool("example", "Average")
def the_first_average_by_hand(kit):
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = kit.Average(model, decay=0.9)
    model.weight.data.fill_(1.0)
    average.update(model)
    close(average.model.weight.item(), 1 - 2 / 11)


@pool("property", "Average")
@drawn
@given(number=seeds, updates=st.integers(1, 30), decay=st.floats(0.5, 0.99))
def an_average_comes_nearer_by_the_stated_decay(kit, number, updates, decay):
    model = network(number, dropout=0.5)
    average = kit.Average(model, decay)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.add_(1)
    for _ in range(updates):
        average.update(model)
    left = math.prod(min(decay, (1 + n) / (10 + n)) for n in range(1, updates + 1))
    for mine, theirs in zip(average.model.parameters(), model.parameters(), strict=True):
        close(theirs - mine, torch.full_like(mine, left).detach(), 1e-4)
    for mine, theirs in zip(average.model.buffers(), model.buffers(), strict=True):
        close(mine, theirs)


# Early stopping


@pool("example", "Best")
def a_loss_that_rises_stops(kit):
    best, model = kit.Best(2), network()
    assert [best.stop(loss, model) for loss in (1.0, 2.0, 3.0)] == [False, False, True]


@pool("property", "Best")
@drawn
@given(
    losses=st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0]), min_size=1, max_size=12),
    patience=st.integers(1, 4),
)
def early_stopping_waits_for_its_patience_and_keeps_the_best(kit, losses, patience):
    best, model = kit.Best(patience), nn.Linear(1, 1)
    for i, loss in enumerate(losses):
        model.weight.data.fill_(float(i))
        stopped = best.stop(loss, model)
        first = losses.index(min(losses[: i + 1]))
        assert best.weights["weight"].item() == first
        assert stopped == (i - first >= patience)
        if stopped:
            return


# Evaluation


class Told(nn.Module):
    """Answers what its inputs say, and notes the modes in which it was asked."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, inputs):
        self.modes.append(self.training)
        return inputs


@pool("smoke", "evaluate")
def accuracy_is_a_share(kit):
    assert 0 <= kit.evaluate(network(), random(0, 64, 6), torch.zeros(64, dtype=torch.int64)) <= 1


@pool("example", "evaluate")
def half_of_the_answers_are_right(kit):
    inputs = torch.eye(2).repeat(32, 1)
    close(kit.evaluate(Told(), inputs, torch.zeros(64, dtype=torch.int64)), 0.5)


@pool("example", "evaluate")
def evaluation_has_no_dropout(kit):
    model = network(dropout=0.5)
    inputs, targets = random(0, 64, 6), torch.randint(4, (64,), generator=torch.Generator().manual_seed(0))
    assert kit.evaluate(model, inputs, targets) == kit.evaluate(model, inputs, targets)


@pool("property", "evaluate")
@drawn
@given(number=seeds, examples=st.integers(1, 40), size=st.integers(1, 16), mode=st.booleans())
def accuracy_does_not_depend_on_batches_and_leaves_the_mode(kit, number, examples, size, mode):
    model, inputs = Told(), random(number, examples, 4)
    targets = torch.randint(4, (examples,), generator=torch.Generator().manual_seed(number))
    model.train(mode)
    close(kit.evaluate(model, inputs, targets, size), (inputs.argmax(1) == targets).double().mean().item())
    assert model.training == mode
    assert not any(model.modes)


# An update


def one_update(kit, number, parts, **options):
    """The network's weights after an update of two, with the loss of the last."""
    model = network(number)
    optimiser = kit.Adam(
        model.parameters(), eps=1.0
    )  # a large epsilon: the update follows the gradient's size
    for _ in range(2):
        loss = kit.update(model, optimiser, parts, 0.5, **options)
    return loss, torch.cat([p.detach().flatten() for p in model.parameters()])


@pool("smoke", "update")
def an_update_returns_its_loss(kit):
    loss, _ = one_update(kit, 0, [(random(0, 5, 6), padded(0, 5))])
    assert math.isfinite(loss)


@pool("example", "update")
def two_equal_halves_are_a_whole(kit):
    inputs, targets = random(0, 8, 6), padded(0, 8, least=8)
    whole = one_update(kit, 0, [(inputs, targets)])
    halves = one_update(kit, 0, [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])])
    close(whole[0], halves[0])
    close(whole[1], halves[1])


@pool("property", "update")
@drawn
@given(number=seeds, cut=st.integers(1, 8))
def any_cut_of_a_padded_batch_gives_the_same_update(kit, number, cut):
    inputs, targets = random(number, 9, 6), padded(number, 9)
    targets[cut] = 1
    whole = one_update(kit, number, [(inputs, targets)])
    parts = one_update(kit, number, [(inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])])
    close(whole[0], parts[0], 1e-4)
    close(whole[1], parts[1], 1e-4)


@pool("property", "update")
@drawn
@given(number=seeds, scale=st.sampled_from([4.0, 1024.0]), longest=st.sampled_from([0.05, 0.5, 10.0]))
def the_scale_of_the_loss_changes_no_update(kit, number, scale, longest):
    parts = [(random(number, 6, 6), padded(number, 6))]
    close(
        one_update(kit, number, parts, longest=longest, scale=scale)[1],
        one_update(kit, number, parts, longest=longest)[1],
        1e-4,
    )


@pool("peer", "update")
@drawn
@given(number=seeds, longest=st.sampled_from([0.05, 10.0]))
def updates_are_those_of_a_loop_in_pytorch(kit, number, longest):
    parts = [(random(number + i, 6, 6), padded(number + i, 6)) for i in range(2)]
    model = network(number)
    peer = torch.optim.AdamW(model.parameters(), lr=0.5, eps=1.0, weight_decay=0.0)
    for _ in range(2):
        peer.zero_grad()
        loss = F.cross_entropy(model(torch.cat([x for x, _ in parts])), torch.cat([y for _, y in parts]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), longest)
        peer.step()
    mine = one_update(kit, number, parts, longest=longest)
    close(mine[0], loss.item(), 1e-4)
    close(mine[1], torch.cat([p.detach().flatten() for p in model.parameters()]), 1e-3)


# Training


@pool("training", "train")
def one_batch_can_be_learnt_by_heart(kit):
    model, inputs, targets = network(), random(0, 8, 6), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    losses = kit.train(model, inputs, targets, updates=150, size=8, peak=0.03)
    assert losses[-1] < 0.05


@pool("training", "train")
def the_first_loss_is_about_that_of_guessing(kit):
    inputs, targets = random(0, 256, 6), torch.arange(256) % 4
    losses = kit.train(network(), 0.1 * inputs, targets, updates=1, size=256, peak=0.01)
    assert abs(losses[0] - math.log(4)) < 0.2


@pool("training", "train")
def a_rule_is_learnt_from_batches_that_do_not_fit(kit):
    inputs = random(0, 200, 6)
    targets = (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()
    model = network()
    losses = kit.train(model, inputs, targets, updates=120, size=48, peak=0.03)
    assert len(losses) == 120
    assert kit.evaluate(model, inputs, targets) > 0.9


@pool("training", "train")
def the_same_seed_gives_the_same_losses(kit):
    inputs, targets = random(0, 20, 6), torch.arange(20) % 4
    runs = [kit.train(network(), inputs, targets, updates=6, size=8, peak=0.01, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
