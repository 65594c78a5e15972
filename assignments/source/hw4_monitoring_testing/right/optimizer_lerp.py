# replaces: optimizer.py
# method: lerp, addcmul and addcdiv; a schedule by cases
# differs: its numbers are rounded in another order
import math

import torch


def learning_rate(step, config):
    warmup, total = config["warmup"], config["total"]
    if step < warmup:
        return (step + 1) / warmup * config["peak"]
    if step >= total:
        return config["floor"]
    share = math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2
    return share * config["peak"] + (1 - share) * config["floor"]


def clip(gradients, most):
    flat = torch.cat([gradient.flatten() for gradient in gradients.values()])
    norm = float(torch.linalg.vector_norm(flat, dtype=torch.float64))
    factor = most / norm if math.isfinite(norm) and norm > most else 1.0
    return {name: torch.mul(gradient, factor) for name, gradient in gradients.items()}, norm


def adamw(weights, gradients, moments, step, rate, config):
    first = {name: old.lerp(gradients[name], 1 - config["beta1"]) for name, old in moments["first"].items()}
    second = {
        name: (old * config["beta2"]).addcmul(gradients[name], gradients[name], value=1 - config["beta2"])
        for name, old in moments["second"].items()
    }
    lacks1, lacks2 = 1 - config["beta1"] ** (step + 1), 1 - config["beta2"] ** (step + 1)
    new = {}
    for name, weight in weights.items():
        decayed = weight - rate * config["decay"] * weight if weight.ndim > 1 else weight
        root = second[name].sqrt() / math.sqrt(lacks2) + config["epsilon"]
        new[name] = decayed.addcdiv(first[name], root, value=-rate / lacks1)
    return new, {"first": first, "second": second}
