"""The loop: steps, checkpoints and evaluation. A state is a dictionary, which no function here changes.

`config` is one dictionary for all: what model.py and optimizer.py name, and `batch` (sequences), `accumulate`
(micro-batches in a step), `clip`, `average` (of weights).
"""

import hashlib
import io
import math

import torch
from corpus import collate, order
from model import forward, initial, loss
from optimizer import adamw, clip, learning_rate


def start(config: dict, seed: int) -> dict:
    """Return the state before step 0: `step`, `weights`, `average` (equal to the weights), and what else it takes."""
    weights = initial(config, seed)
    zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    moments = {"first": zeros, "second": dict(zeros)}
    return {"step": 0, "seed": seed, "weights": weights, "average": dict(weights), "moments": moments}


def gradients_of(
    weights: dict, batches: list, config: dict, seed: int | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the mean loss over all targets of the micro-batches, as one batch would give it, and its gradients.

    A micro-batch is a pair of tokens and targets. With a seed dropout acts, in each micro-batch another one.
    """
    leaves = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    total, count = 0.0, 0
    for number, (tokens, targets) in enumerate(batches):
        own = None if seed is None else seed + number
        value, targets_in_it = loss(forward(leaves, tokens, config, own), targets)
        ### BEGIN SOLUTION
        value.backward()
        total, count = total + value.item(), count + targets_in_it
        ### GIVEN
        # (value / targets_in_it).backward()
        # total, count = total + value.item() / targets_in_it, count + 1
        ### END SOLUTION
    return total / count, {name: leaf.grad / count for name, leaf in leaves.items()}


def train_step(state: dict, batches: list, config: dict) -> tuple[dict, dict[str, float]]:
    """Return the state after one step on all micro-batches together, and `loss`, `norm` (before clipping) and `rate`.

    Dropout acts, in every step another one. Gradients are clipped to config["clip"]. The average of the weights goes
    on: config["average"] of the old one and the rest of the new weights. A step whose norm is not finite changes
    nothing but `step`.
    """
    step = state["step"]
    value, gradients = gradients_of(state["weights"], batches, config, state["seed"] + 1000 * (step + 1))
    gradients, norm = clip(gradients, config["clip"])
    rate = learning_rate(step, config)
    metrics = {"loss": value, "norm": norm, "rate": rate}
    if not math.isfinite(norm):
        return state | {"step": step + 1}, metrics
    weights, moments = adamw(state["weights"], gradients, state["moments"], step, rate, config)
    kept = config["average"]
    average = {name: kept * old + (1 - kept) * weights[name] for name, old in state["average"].items()}
    return state | {"step": step + 1, "weights": weights, "moments": moments, "average": average}, metrics


def train(state: dict, sequences: list[torch.Tensor], steps: int, config: dict) -> tuple[dict, list[dict]]:
    """Return the state after `steps` more steps, and the metrics of each.

    A step takes `accumulate` micro-batches of `batch` sequences. An epoch takes each sequence once, in an order of
    its own, but for those at its end that do not fill a step. What comes next follows from state["step"]: training
    that was stopped and goes on does what it would have done. Raises ValueError where the sequences do not fill one
    step.
    """
    size = config["batch"] * config["accumulate"]
    in_epoch = len(sequences) // size
    if in_epoch == 0:
        raise ValueError(f"{len(sequences)} sequences do not fill a step of {size}")
    metrics = []
    for _ in range(steps):
        ### BEGIN SOLUTION
        epoch, place = divmod(state["step"], in_epoch)
        ### GIVEN
        # epoch, place = divmod(len(metrics), in_epoch)
        ### END SOLUTION
        taken = order(len(sequences), epoch, state["seed"])[place * size : (place + 1) * size]
        batches = [
            collate([sequences[index] for index in taken[begin : begin + config["batch"]]], config["most"])
            for begin in range(0, size, config["batch"])
        ]
        state, found = train_step(state, batches, config)
        metrics.append(found)
    return state, metrics


def save(state: dict) -> bytes:
    """Return the state as the bytes of a file: a digest, by which damage is found, and what torch.save writes."""
    file = io.BytesIO()
    torch.save(state, file)
    return hashlib.sha256(file.getvalue()).digest() + file.getvalue()


def load(data: bytes) -> dict:
    """Return the state that `save` wrote, equal to the bit; ValueError where a byte is another, or missing."""
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise ValueError("this is no checkpoint, or a damaged one")
    return torch.load(io.BytesIO(data[32:]), weights_only=True)


def evaluate(weights: dict, sequences: list[torch.Tensor], config: dict) -> dict[str, float]:
    """Return `loss`, the mean over all targets of all sequences, and `perplexity`, e to that power; without dropout.

    Sequences are taken config["batch"] at a time, which must not change the result.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(sequences), config["batch"]):
            tokens, targets = collate(sequences[begin : begin + config["batch"]], config["most"])
            value, targets_in_it = loss(forward(weights, tokens, config), targets)
            ### BEGIN SOLUTION
            total, count = total + value.item(), count + targets_in_it
            ### GIVEN
            # total, count = total + value.item() / targets_in_it, count + 1
            ### END SOLUTION
    return {"loss": total / count, "perplexity": math.exp(total / count)}
