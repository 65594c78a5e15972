"""Learning rates over time and batch size."""

import math


def linear_scaling(base_lr: float, base_batch: int, batch: int) -> float:
    """k times the batch, k times the rate (Goyal et al. 2017)."""
    return base_lr * batch / base_batch


def warm_up(step: int, steps: int) -> float:
    """Factor of the learning rate in step 0, 1, ...: rises in a straight line to 1 at step `steps` - 1."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def step_decay(step: int, milestones: list[int], factor: float = 0.1) -> float:
    """Factor of the learning rate: times `factor` at each milestone that has passed."""
    return factor ** sum(step >= milestone for milestone in milestones)


def cosine(step: int, steps: int) -> float:
    """Factor of the learning rate: half a cosine from 1 at step 0 to 0 at step `steps` (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


def warm_up_stable_decay(step: int, steps: int, warm: int = 0, share: float = 0.2) -> float:
    """Factor of the learning rate: a rise, a plateau, and in the last `share` of the steps a straight fall to 0.

    Hu et al., MiniCPM, 2024. The plateau does not know how long training will be: only the fall does.
    """
    fall = max(1.0, share * steps)
    return min(warm_up(step, warm), max(0.0, (steps - step) / fall))
