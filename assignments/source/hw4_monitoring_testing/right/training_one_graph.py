# replaces: training.py
# method: one graph for all micro-batches, torch.autograd.grad, and a list of what comes next
# differs: its state has other entries, its random numbers are others, its metrics have one more
import io
import math
import zlib

import torch
from corpus import collate, order
from model import forward, initial, loss
from optimizer import adamw, clip, learning_rate


def start(config, seed):
    weights = initial(config, seed)
    nothing = lambda: {name: torch.zeros_like(weight) for name, weight in weights.items()}  # noqa: E731
    average = {name: weight.clone() for name, weight in weights.items()}
    adam = [nothing(), nothing()]
    return {"weights": weights, "average": average, "adam": adam, "random": seed * 3 + 1, "step": 0}


def gradients_of(weights, batches, config, seed=None):
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    sums = [
        loss(forward(leaves, tokens, config, None if seed is None else seed * 7919 + place), targets)
        for place, (tokens, targets) in enumerate(batches)
    ]
    mean = sum(value for value, _ in sums) / sum(count for _, count in sums)
    found = torch.autograd.grad(mean, list(leaves.values()))
    return mean.item(), dict(zip(leaves, found, strict=True))


def train_step(state, batches, config):
    step, weights = state["step"], state["weights"]
    mean, gradients = gradients_of(weights, batches, config, state["random"] + 104_729 * step)
    clipped, norm = clip(gradients, config["clip"])
    metrics = {"rate": learning_rate(step, config), "norm": norm, "loss": mean, "batches": len(batches)}
    after = dict(state, step=step + 1)
    if math.isfinite(norm):
        moments = {"first": state["adam"][0], "second": state["adam"][1]}
        new, moments = adamw(weights, clipped, moments, step, metrics["rate"], config)
        share = 1 - config["average"]
        average = {name: torch.lerp(old, new[name], share) for name, old in state["average"].items()}
        after.update(weights=new, adam=[moments["first"], moments["second"]], average=average)
    return after, metrics


def train(state, sequences, steps, config):
    batch, size = config["batch"], config["batch"] * config["accumulate"]
    if len(sequences) < size:
        raise ValueError("too few")
    queue, found = [], []
    first = state["step"]
    for epoch in range((first + steps) // (len(sequences) // size) + 1):
        numbers = order(len(sequences), epoch, state["random"])
        queue += [numbers[begin : begin + size] for begin in range(0, len(sequences) - size + 1, size)]
    for numbers in queue[first : first + steps]:
        pieces = [numbers[begin : begin + batch] for begin in range(0, size, batch)]
        batches = [collate([sequences[one] for one in piece], config["most"]) for piece in pieces]
        state, metrics = train_step(state, batches, config)
        found.append(metrics)
    return state, found


def save(state):
    file = io.BytesIO()
    torch.save([sorted(state.items(), key=lambda entry: entry[0])], file)
    data = zlib.compress(file.getvalue(), 1)
    return data + zlib.crc32(data).to_bytes(4, "big")


def load(data):
    if len(data) < 4 or zlib.crc32(data[:-4]).to_bytes(4, "big") != data[-4:] or not data[:-4]:
        raise ValueError("damaged")
    return dict(torch.load(io.BytesIO(zlib.decompress(data[:-4])), weights_only=True)[0])


@torch.no_grad()
def evaluate(weights, sequences, config):
    sums = [
        loss(forward(weights, *collate([one], config["most"])[:1], config), collate([one], config["most"])[1])
        for one in sequences
    ]
    mean = math.fsum(float(value) for value, _ in sums) / sum(count for _, count in sums)
    return {"loss": mean, "perplexity": math.exp(mean)}
