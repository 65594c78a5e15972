"""Search for hyper-parameters on a table of real training curves, so that a search takes milliseconds.

The problem is small and real: a network with one hidden layer on scikit-learn's digits. `curves.json` holds the
validation and test losses of all 243 settings, for each of four seeds, at nine times of training; `train` makes any
entry again. A search pays in *units* of two updates for what it looks up, as if it trained.

    python -m week09_experiment_tracking.search        # makes curves.json anew
"""

import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from effdl import device

TABLE = Path(__file__).with_name("curves.json")
SPACE = {
    "rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
    "momentum": [0.0, 0.5, 0.9],
    "batch": [16, 64, 256],
    "width": [8, 32, 128],
}
"""Values of every hyper-parameter; a setting is a place in each list, as (4, 2, 1, 2)."""
SETTINGS = list(itertools.product(*(range(len(values)) for values in SPACE.values())))
UNITS = [1, 2, 3, 6, 9, 18, 27, 54, 81]
"""Times at which losses are kept, in units."""
UPDATES = 2
"""Updates in a unit."""
SEEDS = 4
SCHEDULES = ("constant", "cosine")
TRAIN, VALIDATION = 600, 400
NOISE = 0.2
"""Share of training labels that are wrong, so that the longest training is not always the best."""


@functools.cache
def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Digits as (inputs, targets) for training, validation and test: 600, 400 and 797."""
    inputs, targets = load_digits(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(len(inputs))
    x, y = torch.tensor(inputs[mixed] / 16, dtype=torch.float32), torch.tensor(targets[mixed])
    cuts = [0, TRAIN, TRAIN + VALIDATION, len(x)]
    parts = [(x[a:b], y[a:b].clone()) for a, b in itertools.pairwise(cuts)]
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(TRAIN, generator=generator) < NOISE
    parts[0][1][wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    return parts


def train(
    setting: Sequence[int], schedule: str = "constant", units: int = UNITS[-1], seeds: int = SEEDS
) -> tuple[np.ndarray, float]:
    """Train one setting with SGD; all seeds side by side, as a batch of networks.

    Returns losses (2, seeds, times), validation and test, at the times of UNITS up to `units`, and the seconds that a
    unit took for all seeds.
    """
    values = dict(zip(SPACE, (SPACE[name][i] for name, i in zip(SPACE, setting, strict=True)), strict=True))
    rate, momentum, batch, width = values.values()
    (x, y), *judges = data()
    generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]

    def start(*shape: int) -> torch.Tensor:
        first = [torch.randn(shape, generator=generator) for generator in generators]
        return (torch.stack(first) * math.sqrt(2 / shape[0])).requires_grad_()

    weights = [start(64, width), torch.zeros(seeds, 1, width, requires_grad=True)]
    weights += [start(width, 10), torch.zeros(seeds, 1, 10, requires_grad=True)]
    speeds = [torch.zeros_like(w) for w in weights]

    def losses(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = torch.relu(inputs @ weights[0] + weights[1]) @ weights[2] + weights[3]
        return -logits.log_softmax(-1).gather(-1, targets.expand(seeds, -1)[..., None]).mean((1, 2))

    kept, begin = [], time.perf_counter()
    for update in range(units * UPDATES):
        chosen = torch.stack([torch.randint(TRAIN, (batch,), generator=g) for g in generators])
        gradients = torch.autograd.grad(losses(x[chosen], y[chosen]).sum(), weights)
        share = 1 - update / (UNITS[-1] * UPDATES)
        now = rate * (1 - math.cos(math.pi * share)) / 2 if schedule == "cosine" else rate
        with torch.no_grad():
            for w, speed, gradient in zip(weights, speeds, gradients, strict=True):
                w -= now * speed.mul_(momentum).add_(gradient)
        if (update + 1) % UPDATES == 0 and (update + 1) // UPDATES in UNITS:
            with torch.no_grad():
                kept.append(
                    torch.stack([losses(*judge) for judge in judges]).nan_to_num(99, 99).clamp(max=99)
                )
    return torch.stack(kept, -1).numpy(), (time.perf_counter() - begin) / units


@dataclass(frozen=True)
class Table:
    """Recorded curves of one schedule: losses (2, settings, seeds, times), seconds a unit for each setting."""

    losses: np.ndarray
    seconds: np.ndarray

    def final(self, which: int = 0) -> np.ndarray:
        """(settings, seeds): losses after the whole training, on validation (0) or test (1)."""
        return self.losses[which, :, :, -1]


@functools.cache
def table(schedule: str = "constant") -> Table:
    """The recorded curves of a schedule."""
    stored = json.loads(TABLE.read_text(encoding="utf-8"))[schedule]
    shape = (2, len(SETTINGS), SEEDS, len(UNITS))
    return Table(np.array(stored["losses"]).reshape(shape) / 1e4, np.array(stored["seconds"]))


def main() -> None:
    """Train everything, and write TABLE."""
    torch.set_num_threads(1)
    result = {}
    for schedule in SCHEDULES:
        found = [train(setting, schedule) for setting in SETTINGS]
        losses = np.stack([losses for losses, _ in found], 1)
        result[schedule] = {
            "losses": np.rint(losses * 1e4).astype(int).ravel().tolist(),
            "seconds": [round(seconds, 5) for _, seconds in found],
        }
    result |= {"machine": device.kind_label(), "date": str(date.today()), "torch": torch.__version__}
    TABLE.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")


# Searches. Each is given `look(setting, units)`, the validation loss of a setting after so many units, and returns
# the setting that it would keep.


class Bill:
    """Looks entries of a table up for one seed, and keeps the bill: units and seconds of training."""

    def __init__(self, curves: Table, seed: int, among: Sequence[int] | None = None):
        """`among`: the settings to draw from; all without."""
        self.curves, self.seed = curves, seed
        self.among = range(len(SETTINGS)) if among is None else among
        self.trained: dict[int, int] = {}
        self.units, self.seconds = 0, 0.0

    def look(self, setting: int, units: int = UNITS[-1]) -> float:
        """Validation loss of a setting after `units`; training goes on from where it stopped."""
        more = units - self.trained.get(setting, 0)
        if more > 0:
            self.trained[setting] = units
            self.units += more
            self.seconds += more * self.curves.seconds[setting] / SEEDS
        return float(self.curves.losses[0, setting, self.seed, UNITS.index(units)])


def draw(bill: "Bill", seed: int | np.random.Generator, count: int) -> list[int]:
    """Different settings, drawn at random from those that the search may use."""
    return np.random.default_rng(seed).choice(list(bill.among), count, replace=False).tolist()


def random_search(look: Callable[..., float], settings: Iterable[int]) -> int:
    """The best of some settings, each trained to the end."""
    return min(settings, key=look)


def halving(look: Callable[..., float], settings: Iterable[int], units: int = 1, keep: int = 3) -> int:
    """Successive halving (Jamieson & Talwalkar, AISTATS 2016): train all a little, keep the best third, go on.

    From `units` on, each round trains `keep` times as long as the one before, until one whole training has been paid.
    """
    settings = list(settings)
    while units < UNITS[-1]:
        ranked = sorted(settings, key=lambda setting: look(setting, units))
        settings = ranked[: max(len(settings) // keep, 1)]
        units *= keep
    return min(settings, key=look)


def hyperband(bill: "Bill", seed: int) -> int:
    """Halving with five different first rounds, from 81 settings for 1 unit to 5 for 81 (Li et al., JMLR 2018)."""
    rounds, rng = round(math.log(UNITS[-1], 3)), np.random.default_rng(seed)
    kept = []
    for bracket in range(rounds, -1, -1):
        settings = math.ceil((rounds + 1) / (bracket + 1) * 3**bracket)
        kept.append(halving(bill.look, draw(bill, rng, settings), 3 ** (rounds - bracket)))
    return min(kept, key=bill.look)


def tpe(look: Callable[..., float], seed: int, runs: int) -> int:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NIPS 2011; Akiba et al., KDD 2019)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))

    def objective(trial) -> float:
        places = tuple(trial.suggest_int(name, 0, len(values) - 1) for name, values in SPACE.items())
        return look(SETTINGS.index(places))

    study.optimize(objective, n_trials=runs)
    return SETTINGS.index(tuple(study.best_params.values()))


METHODS: dict[str, Callable[[Bill, int], int]] = {
    **{
        f"random, {n}": (lambda bill, seed, n=n: random_search(bill.look, draw(bill, seed, n)))
        for n in (1, 2, 3, 4, 8, 16, 32, 64)
    },
    **{
        f"halving, {n} from {units}": (
            lambda bill, seed, n=n, units=units: halving(bill.look, draw(bill, seed, n), units)
        )
        for n, units in ((9, 9), (27, 3), (81, 1), (243, 1))
    },
    "Hyperband": hyperband,
    "grid, 9": lambda bill, seed: random_search(
        bill.look, [SETTINGS.index((rate, momentum, 1, 1)) for rate in (1, 4, 7) for momentum in range(3)]
    ),
    "one at a time, 9": lambda bill, seed: random_search(
        bill.look, [SETTINGS.index((rate, 2, 1, 1)) for rate in range(9)]
    ),
}
"""Searches by name; each is given a bill and a seed."""


@dataclass(frozen=True)
class Result:
    """A search, repeated: test losses of what it kept (means over all seeds of training), and its mean bill."""

    losses: np.ndarray
    units: float
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over repetitions."""
        return float(self.losses.mean())


def repeat(
    method: Callable[[Bill, int], int],
    schedule: str = "constant",
    repeats: int = 100,
    among: Sequence[int] | None = None,
) -> Result:
    """A search, many times: other draws, and each of the seeds of training in turn."""
    curves, kept, units, seconds = table(schedule), [], [], []
    quality = curves.final(1).mean(1)
    for seed in range(repeats):
        bill = Bill(curves, seed % SEEDS, among)
        kept.append(quality[method(bill, seed)])
        units.append(bill.units)
        seconds.append(bill.seconds)
    return Result(np.array(kept), float(np.mean(units)), float(np.mean(seconds)))


def best_quarter(schedule: str = "constant") -> list[int]:
    """The settings with the lowest final losses: a space that somebody has narrowed before."""
    return table(schedule).final(0).mean(1).argsort()[: len(SETTINGS) // 4].tolist()


def cost_of(loss: float, results: dict[str, Result]) -> float:
    """Units that random search needs for a mean loss: interpolated in the logarithm of the units."""
    points = sorted((r.loss, math.log(r.units)) for name, r in results.items() if name.startswith("random"))
    return math.exp(np.interp(loss, *zip(*points, strict=True)))


def optimism(schedule: str = "constant", counts: Sequence[int] = (1, 4, 16, 64), repeats: int = 400):
    """The best of n: validation loss by which it was chosen, and its loss on test data with the other seeds."""
    curves, rng, rows = table(schedule), np.random.default_rng(0), {}
    validation, test = curves.final(0), curves.final(1)
    gap = float(np.median(test - validation))  # the two sets are not equally hard
    for n in counts:
        seen, honest = [], []
        for _ in range(repeats):
            seed = rng.integers(SEEDS)
            drawn = rng.choice(len(SETTINGS), n, replace=False)
            best = drawn[validation[drawn, seed].argmin()]
            seen.append(validation[best, seed] + gap)
            honest.append(np.delete(test[best], seed).mean())
        rows[n] = float(np.median(seen)), float(np.median(honest))
    return rows


if __name__ == "__main__":
    main()
