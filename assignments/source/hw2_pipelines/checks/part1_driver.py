"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs; where
a number counted here decides, the check says so. The segmentation task below is yours to use in the report.
"""

import io
import itertools

import torch
import torch.nn.functional as F
from torch import nn

# --- what stands in for PyTorch's optimizers, whose first step imports a compiler: seconds in every worker ----


class Momentum:
    """SGD with momentum: `velocity = 0.9 velocity + gradient`, `parameter -= lr velocity`; counts its steps."""

    def __init__(self, groups):
        self.param_groups, self.state, self.calls = groups, {}, 0

    def zero_grad(self, set_to_none=True):
        for parameter in self.parameters():
            parameter.grad = None

    def parameters(self):
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def step(self):
        self.calls += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state.setdefault(
                        parameter, {"velocity": torch.zeros_like(parameter), "steps": 0}
                    )
                    state["steps"] += 1
                    state["velocity"].mul_(0.9).add_(parameter.grad)
                    parameter.sub_(group["lr"] * state["velocity"])


class Adam(Momentum):
    """Adam without a floor under its denominator, so that the size of the loss does not matter."""

    @torch.no_grad()
    def step(self):
        self.calls += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                fresh = {"mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
                state = self.state.setdefault(parameter, {**fresh, "steps": 0})
                state["steps"] += 1
                state["mean"].lerp_(parameter.grad, 0.1)
                state["square"].lerp_(parameter.grad**2, 0.01)
                mean = state["mean"] / (1 - 0.9 ** state["steps"])
                square = state["square"] / (1 - 0.99 ** state["steps"])
                parameter.sub_(group["lr"] * mean / (square.sqrt() + 1e-15))


# --- scalers, by a script ---------------------------------------------------------------------------------------


def make_scaler(kind, settings):
    """Return the student's scaler, `static` or `dynamic`; from now on PyTorch's own refuses to work."""

    class Refuses:
        def __init__(self, *arguments, **options):
            raise RuntimeError("torch.amp.GradScaler is there to compare with; the scaler is yours to write")

        __init_subclass__ = __init__

    torch.amp.GradScaler = torch.cuda.amp.GradScaler = torch.amp.grad_scaler.GradScaler = Refuses
    import loss_scaling

    scaler = {"static": loss_scaling.StaticLossScaler, "dynamic": loss_scaling.DynamicLossScaler}[kind]
    return scaler(**settings)


def play(case):
    """Play a script and return a report of each of its steps.

    `case["optimizers"]` holds groups of parameters, given by their first values. A step holds a slope for each
    parameter, or None: the loss is the sum of parameter * slope, so that slopes are gradients without scaling.
    `unscale` says which optimizers are unscaled by hand; `clamp` bounds their gradients between that and the step.
    """
    scaler = make_scaler(case["kind"], case["settings"])
    return _play(scaler, _optimizers(case["optimizers"]), case["steps"])


def play_and_load(case):
    """Play `steps` on one scaler, load its state into another one with `other` settings, and go on with `rest`.

    The first scaler plays `meanwhile` between giving its state and the loading. The state goes through a file.
    """
    first = make_scaler(case["kind"], case["settings"])
    reports = _play(first, _optimizers(case["optimizers"]), case["steps"])
    state = first.state_dict()
    _play(first, _optimizers(case["optimizers"]), case["meanwhile"])
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    second = make_scaler(case["kind"], case["other"])
    second.load_state_dict(torch.load(file, weights_only=True))
    begins = number(second.get_scale())
    rest = _play(second, _optimizers(case["optimizers"]), case["rest"])
    return {"before": reports, "begins": begins, "after": rest}


def misuse(case):
    """Return how calls out of order end: the name of what is raised, or None."""
    return {
        name: outcome(case, calls)
        for name, calls in {
            "unscale_ twice": ("unscale_", "unscale_"),
            "unscale_ after step": ("step", "unscale_"),
            "step twice": ("step", "step"),
            "unscale_, step, update, unscale_, step, update": (
                *("unscale_", "step", "update"),
                *("unscale_", "step", "update"),
            ),
        }.items()
    }


def outcome(case, calls):
    """Call these methods of a new scaler in turn; return the type of the exception, None where there is none."""
    scaler, (optimizer,) = make_scaler(case["kind"], case["settings"]), _optimizers(case["optimizers"])
    for parameter in optimizer.parameters():
        parameter.grad = torch.ones_like(parameter)
    try:
        for name in calls:
            getattr(scaler, name)(*(() if name == "update" else (optimizer,)))
    except NotImplementedError:
        raise
    except Exception as error:
        return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return None


def number(value):
    """Return a number that came as a tensor or NumPy's as a plain one."""
    return value.item() if hasattr(value, "item") else value


def _optimizers(groups):
    return [
        Momentum(
            [
                {"lr": group["lr"], "params": [nn.Parameter(value.clone()) for value in group["params"]]}
                for group in optimizer
            ]
        )
        for optimizer in groups
    ]


def _play(scaler, optimizers, steps):
    reports = []
    for step in steps:
        for optimizer in optimizers:
            optimizer.zero_grad()
        pairs = [
            (parameter, slope)
            for optimizer, slopes in zip(optimizers, step["slopes"], strict=True)
            for parameter, slope in zip(optimizer.parameters(), slopes, strict=True)
            if slope is not None
        ]
        losses = []
        if pairs:
            loss = sum((parameter * slope).sum() for parameter, slope in pairs)
            losses.append(loss.item())
            scaler.scale(loss).backward()
            losses.append(loss.item())
        raw = [_gradients(optimizer) for optimizer in optimizers]
        held = [[parameter.grad for parameter in optimizer.parameters()] for optimizer in optimizers]
        unscaled, in_place, stepped = [], [], []
        for optimizer, by_hand, before in zip(optimizers, step["unscale"], held, strict=True):
            if by_hand:
                scaler.unscale_(optimizer)
                if step.get("clamp"):
                    for parameter in optimizer.parameters():
                        if parameter.grad is not None:
                            parameter.grad.nan_to_num_(0.0).clamp_(-step["clamp"], step["clamp"])
            unscaled.append(_gradients(optimizer) if by_hand else None)
            in_place.append(
                [one.grad is two for one, two in zip(optimizer.parameters(), before, strict=True)]
            )
        for optimizer in optimizers:
            stepped.append(number(scaler.step(optimizer)))
        scaler.update()
        reports.append(
            {
                "raw": raw,
                "unscaled": unscaled,
                "in_place": in_place,
                "loss": losses,
                "stepped": stepped,
                "scale": number(scaler.get_scale()),
                "calls": [optimizer.calls for optimizer in optimizers],
                "weights": [
                    [parameter.detach().clone() for parameter in one.parameters()] for one in optimizers
                ],
                "velocities": [_kept(optimizer, "velocity") for optimizer in optimizers],
                "counts": [_kept(optimizer, "steps") for optimizer in optimizers],
            }
        )
    return reports


def _gradients(optimizer):
    return [None if one.grad is None else one.grad.clone() for one in optimizer.parameters()]


def _kept(optimizer, name):
    values = [optimizer.state.get(parameter, {}).get(name) for parameter in optimizer.parameters()]
    return [value.clone() if isinstance(value, torch.Tensor) else value for value in values]


# --- training_step ----------------------------------------------------------------------------------------------


def steps_with_torch(case):
    """Call `training_step` with PyTorch's own scaler on each batch; return weights, losses and scales."""
    from training import training_step

    model = nn.Sequential(nn.Linear(*case["weights"][0].shape[::-1], bias=False), nn.Tanh())
    model.append(nn.Linear(*case["weights"][1].shape[::-1], bias=False))
    with torch.no_grad():
        model[0].weight.copy_(case["weights"][0])
        model[2].weight.copy_(case["weights"][1])
    optimizer = Momentum([{"lr": case["lr"], "params": list(model.parameters())}])
    scaler = torch.amp.GradScaler("cpu", init_scale=case["scale"], growth_interval=1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)  # from earlier
    losses, scales = [], []
    for inputs, targets in case["batches"]:
        found = training_step(model, F.mse_loss, inputs, targets, optimizer, scaler, **case["options"])
        losses.append(number(found))
        scales.append(scaler.get_scale())
    return {"weights": values(model), "losses": losses, "scales": scales}


# --- segmentation -----------------------------------------------------------------------------------------------

SIDE = 24
PIXELS = 512 * 256 * 256  # in a batch of the training that this stands for; its mean makes gradients small


def ellipses(count, seed):
    """Return noisy images [count, 1, SIDE, SIDE] of one ellipse each, and the masks of their insides, float32."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    y, x = y - uniform(-0.4, 0.4), x - uniform(-0.4, 0.4)
    angle = uniform(0, torch.pi)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    inside = (along / uniform(0.3, 0.7)) ** 2 + (across / uniform(0.3, 0.7)) ** 2 <= 1
    masks = inside.float()[:, None]
    images = masks * uniform(0.4, 1.0)[:, None]
    return images + 0.6 * torch.randn(images.shape, generator=generator), masks


class HalfGradient(torch.autograd.Function):
    """Passes a tensor on; its gradient is rounded to float16, as where the backward pass runs in float16."""

    @staticmethod
    def forward(ctx, value):
        return value.view_as(value)

    @staticmethod
    def backward(ctx, grad_output):
        return round_to_half(grad_output)


def round_to_half(gradient):
    """Return the gradient rounded to float16: above 65504 inf, below 3e-8 zero."""
    return gradient.half().float()


class Segmenter(nn.Module):
    """Four convolutions; in `half`, every gradient in its backward pass is one of float16."""

    def __init__(self, half, channels=8):
        super().__init__()
        widths = (1, channels, channels, channels, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.half = half
        if half:
            for parameter in self.parameters():
                parameter.register_hook(round_to_half)

    def forward(self, images):
        value = images
        for layer in self.layers:
            value = layer(value.relu() if layer is not self.layers[0] else value)
            value = HalfGradient.apply(value) if self.half else value
        return value


def pixel_loss(logits, masks):
    """Return the loss of these pixels as their share of the mean over `PIXELS`."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="sum") / PIXELS


def accuracy(model, images, masks):
    """Return the share of pixels on the right side: a logit above zero says inside."""
    with torch.no_grad():
        return ((model(images) > 0) == (masks > 0.5)).float().mean().item()


def train(step, seed, steps, half, batch=16, lr=0.01):
    """Train a new model with `step(model, loss_fn, images, masks, optimizer)`; return the model."""
    torch.manual_seed(seed)
    model = Segmenter(half)
    optimizer = Adam([{"lr": lr, "params": list(model.parameters())}])
    for number_of_step in range(steps):
        images, masks = ellipses(batch, seed + number_of_step)
        step(model, pixel_loss, images, masks, optimizer)
    return model


def segmentation(seed, steps, settings):
    """Train with float16 gradients and the student's dynamic scaler; return weights and the scale after each step."""
    scales, scaler = [], make_scaler("dynamic", settings)

    def step(model, loss_fn, images, masks, optimizer):
        optimizer.zero_grad()
        scaler.scale(loss_fn(model(images), masks)).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(number(scaler.get_scale()))

    torch.set_num_threads(1)
    return {"weights": values(train(step, seed, steps, half=True)), "scales": scales}


def segmentation_with_torch(seed, steps, scale):
    """Train with float16 gradients, PyTorch's scaler and the student's `training_step`; return the weights."""
    from training import training_step

    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    torch.set_num_threads(1)
    model = train(lambda *arguments: training_step(*arguments, scaler), seed, steps, half=True)
    return {"weights": values(model)}


def values(model):
    """Return the values of a model's parameters."""
    return [parameter.detach() for parameter in model.parameters()]
