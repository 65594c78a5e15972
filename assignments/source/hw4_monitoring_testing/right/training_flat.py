# replaces: training.py
# method: gradients weighted as they come, tensors by name in one flat dictionary, NumPy's archive as a file
# differs: its state has other entries, its random numbers are others, and its checkpoint is another file
import hashlib
import io
import math

import corpus
import model
import numpy as np
import optimizer
import torch


def start(config, seed):
    weights = model.initial(config, seed ^ 0x5A5A)
    state = {"step": 0, "key": seed, "weights": weights}
    state["average"] = {name: one.clone() for name, one in weights.items()}
    for moment in ("first", "second"):
        state[moment] = {name: one * 0 for name, one in weights.items()}
    return state


def gradients_of(weights, batches, config, seed=None):
    count = sum(int((targets != corpus.IGNORED).sum()) for _, targets in batches)
    total, gradients = 0.0, {name: torch.zeros_like(one) for name, one in weights.items()}
    for place, (tokens, targets) in enumerate(batches):
        leaves = {name: one.detach().clone().requires_grad_(True) for name, one in weights.items()}
        own = seed if seed is None else hash((seed, place)) % (1 << 31)
        value, _ = model.loss(model.forward(leaves, tokens, config, own), targets)
        (value / count).backward()
        total += value.item() / count
        for name, leaf in leaves.items():
            gradients[name] += leaf.grad
    return total, gradients


def train_step(state, batches, config):
    state = {**state, "step": state["step"] + 1}
    now = state["step"] - 1
    rate = optimizer.learning_rate(now, config)
    value, gradients = gradients_of(state["weights"], batches, config, hash((state["key"], now)) % (1 << 31))
    gradients, norm = optimizer.clip(gradients, config["clip"])
    if norm - norm == 0:
        moments = {moment: state[moment] for moment in ("first", "second")}
        state["weights"], moments = optimizer.adamw(state["weights"], gradients, moments, now, rate, config)
        state |= moments
        kept = config["average"]
        state["average"] = {
            name: old + (1 - kept) * (state["weights"][name] - old) for name, old in state["average"].items()
        }
    return state, {"loss": value, "norm": norm, "rate": rate}


def train(state, sequences, steps, config):
    batch = config["batch"]
    in_step = batch * config["accumulate"]
    if in_step > len(sequences):
        raise ValueError(len(sequences))
    metrics = []
    while len(metrics) < steps:
        in_epoch = len(sequences) // in_step
        numbers = corpus.order(len(sequences), state["step"] // in_epoch, state["key"] + 1)
        begin = state["step"] % in_epoch * in_step
        micro = [numbers[begin + piece * batch :][:batch] for piece in range(config["accumulate"])]
        batches = [corpus.collate([sequences[number] for number in part], config["most"]) for part in micro]
        state, found = train_step(state, batches, config)
        metrics.append(found)
    return state, metrics


def save(state):
    flat = {"step": np.array(state["step"]), "key": np.array(state["key"])}
    for group in ("weights", "average", "first", "second"):
        flat |= {f"{group}/{name}": one.numpy() for name, one in state[group].items()}
    file = io.BytesIO()
    np.savez(file, **flat)
    return file.getvalue() + hashlib.blake2b(file.getvalue(), digest_size=16).digest()


def load(data):
    body, digest = data[:-16], data[-16:]
    if len(data) <= 16 or hashlib.blake2b(body, digest_size=16).digest() != digest:
        raise ValueError("not a checkpoint of ours")
    state = {"weights": {}, "average": {}, "first": {}, "second": {}}
    with np.load(io.BytesIO(body)) as found:
        for name in found.files:
            group, _, inner = name.partition("/")
            if inner:
                state[group][inner] = torch.from_numpy(found[name]).clone()
            else:
                state[group] = int(found[name])
    return state


def evaluate(weights, sequences, config):
    total = count = 0
    for begin in range(0, len(sequences), config["batch"]):
        tokens, targets = corpus.collate(sequences[begin : begin + config["batch"]], config["most"])
        with torch.inference_mode():
            value, kept = model.loss(model.forward(weights, tokens, config), targets)
        total, count = total + value.item(), count + kept
    return {"perplexity": math.exp(total / count), "loss": total / count}
