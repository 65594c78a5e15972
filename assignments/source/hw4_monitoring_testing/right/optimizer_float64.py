# replaces: optimizer.py
# method: everything in float64, rounded once
# differs: its numbers are rounded in another order
from math import cos, inf, pi, sqrt

import torch


def learning_rate(step, config):
    rates = {"before": config["peak"] * (step + 1) / max(1, config["warmup"])}
    way = (step - config["warmup"]) / max(1, config["total"] - config["warmup"])
    way = 1.0 if way > 1 else way
    rates["after"] = (config["peak"] + config["floor"]) / 2 + (config["peak"] - config["floor"]) / 2 * cos(
        pi * way
    )
    return rates["before" if step < config["warmup"] else "after"]


def clip(gradients, most):
    norm = sqrt(sum((gradient.double() ** 2).sum().item() for gradient in gradients.values()))
    if norm <= most or norm == inf or norm != norm:
        return {name: gradient.clone() for name, gradient in gradients.items()}, norm
    return {name: (gradient.double() / norm * most).float() for name, gradient in gradients.items()}, norm


def adamw(weights, gradients, moments, step, rate, config):
    result, kept = {}, {"first": {}, "second": {}}
    for name in weights:
        gradient, weight = gradients[name].double(), weights[name].double()
        mean = moments["first"][name].double() * config["beta1"] + gradient * (1 - config["beta1"])
        square = moments["second"][name].double() * config["beta2"] + gradient**2 * (1 - config["beta2"])
        if weights[name].dim() > 1:
            weight = weight * (1 - rate * config["decay"])
        step_ = (mean / (1 - config["beta1"] ** (step + 1))) / (
            torch.sqrt(square / (1 - config["beta2"] ** (step + 1))) + config["epsilon"]
        )
        result[name] = (weight - rate * step_).to(weights[name].dtype)
        kept["first"][name], kept["second"][name] = mean.float(), square.float()
    return result, kept
