"""One step of an optimizer, as functions: the learning rate, clipping, and AdamW.

`config` is a dictionary: `peak`, `floor`, `warmup`, `total` (steps), `beta1`, `beta2`, `epsilon`, `decay`.
"""

import math

import torch


def learning_rate(step: int, config: dict) -> float:
    """Return the learning rate of step `step`, counted from 0.

    While step < warmup it is peak * (step + 1) / warmup. Then it falls from peak, at step `warmup`, to floor, at
    step `total`, along half a cosine: floor + (peak - floor) * (1 + cos(pi * t)) / 2, t the share of the way. There
    it stays.
    """
    peak, floor, warmup, total = (config[name] for name in ("peak", "floor", "warmup", "total"))
    if step < warmup:
        return peak * (step + 1) / warmup
    ### BEGIN SOLUTION
    way = min(1.0, (step - warmup) / max(1, total - warmup))
    ### GIVEN
    # way = (step - warmup) / max(1, total - warmup)
    ### END SOLUTION
    return floor + (peak - floor) * (1 + math.cos(math.pi * way)) / 2


def clip(gradients: dict[str, torch.Tensor], most: float) -> tuple[dict[str, torch.Tensor], float]:
    """Return the gradients, scaled down where their norm is above `most` so that it is `most`, and the norm before.

    It is the Euclidean norm of all gradients together. All are scaled by the same factor. Where the norm is not
    finite they stay as they are.
    """
    ### BEGIN SOLUTION
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))
    if not most < norm < math.inf:
        return dict(gradients), norm
    return {name: gradient * (most / norm) for name, gradient in gradients.items()}, norm
    ### GIVEN
    # norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    # norm = math.sqrt(sum(value**2 for value in norms.values()))
    # if not most < norm < math.inf:
    #     return dict(gradients), norm
    # return {name: gradient * min(1, most / norms[name]) for name, gradient in gradients.items()}, norm
    ### END SOLUTION


def adamw(
    weights: dict[str, torch.Tensor],
    gradients: dict[str, torch.Tensor],
    moments: dict[str, dict[str, torch.Tensor]],
    step: int,
    rate: float,
    config: dict,
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """Return weights and moments after step `step`, counted from 0; the arguments stay as they are.

    AdamW (Loshchilov and Hutter 2019). moments["first"][name] and moments["second"][name] are the running means of
    the gradient and of its square, which begin as zeros; both are divided by 1 - beta ** (step + 1);
    epsilon is added to the root. Weights with two dimensions or more lose rate * decay of themselves; others (norms)
    do not decay.
    """
    beta1, beta2 = config["beta1"], config["beta2"]
    new, first, second = {}, {}, {}
    for name, weight in weights.items():
        gradient = gradients[name]
        first[name] = beta1 * moments["first"][name] + (1 - beta1) * gradient
        second[name] = beta2 * moments["second"][name] + (1 - beta2) * gradient.square()
        mean = first[name] / (1 - beta1 ** (step + 1))
        root = (second[name] / (1 - beta2 ** (step + 1))).sqrt()
        kept = 1 - rate * config["decay"] if weight.dim() >= 2 else 1
        new[name] = weight * kept - rate * mean / (root + config["epsilon"])
    return new, {"first": first, "second": second}
