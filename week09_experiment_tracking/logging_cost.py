"""What a call of a tracker costs, beside a step of training."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch

from effdl import bench
from week09_experiment_tracking import trackers
from week09_experiment_tracking.tracker import Run
from week09_experiment_tracking.training import Training

BATCHED = 100  # steps that are handed to MLflow at once


@contextmanager
def ways(folder: Path) -> Iterator[dict[str, Callable[[], object]]]:
    """Functions that log a step with two numbers: 100 calls where one is short, one call where it is long.

    The last hands 100 steps to MLflow at once. :data:`CALLS` says how many steps each logs.
    """
    steps = itertools.count()
    with ExitStack() as stack:
        line = stack.enter_context(Run(folder / "ours", {}))
        durable = stack.enter_context(Run(folder / "durable", {}, durable=True))
        wandb = stack.enter_context(trackers.begin("wandb", folder, {}))
        mlflow = stack.enter_context(trackers.begin("mlflow", folder, {}))

        def times(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: [call() for _ in range(BATCHED)]

        def to(run: trackers.Log) -> Callable[[], object]:
            return lambda: run.log(next(steps), loss=0.25, accuracy=0.5)

        yield {
            "a line, one write": times(to(line)),
            "a line that reaches the disk": to(durable),
            "W&B offline": times(to(wandb)),
            "MLflow on SQLite": to(mlflow),
            f"MLflow, {BATCHED} steps at once": lambda: mlflow.log_many(
                [(next(steps), {"loss": 0.25, "accuracy": 0.5}) for _ in range(BATCHED)]
            ),
        }


STEP = "a step of training"
CALLS = {
    "a line, one write": BATCHED,
    "a line that reaches the disk": 1,
    "W&B offline": BATCHED,
    "MLflow on SQLite": 1,
    f"MLflow, {BATCHED} steps at once": BATCHED,
}


def compared(folder: Path, pairs: int = 7) -> tuple[dict[str, bench.Ratio], float, float]:
    """What logging a step costs, in steps of training, interleaved; seconds of a step; what W&B spends beside.

    The last is in processor seconds of W&B's own process for one call, on another core if there is one.
    """
    training = Training()
    with ways(folder) as calls:
        functions = {STEP: lambda: [training.step() for _ in range(10)], **calls}
        found = bench.compare(functions, pairs=pairs, warmup=1)
        before = _children()
        for _ in range(10):
            calls["W&B offline"]()
        time.sleep(0.3)
        beside = (_children() - before) / (10 * BATCHED)
    ratios = {}
    for name, count in CALLS.items():
        ratio = found.ratio(name, STEP)
        ratios[name] = bench.Ratio(*(10 / count * value for value in (ratio.value, ratio.low, ratio.high)))
    return ratios, found.median(STEP) / 10, beside


def _children() -> float:
    """Processor seconds of this process's children so far, as far as they still run."""
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
    return seconds


def reading_the_loss(every: int, steps: int = 50, width: int = 2048) -> Callable[[], object]:
    """Steps of a network on the GPU whose loss is read on the CPU after every so many of them."""
    net = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(4))).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    x = torch.randn(64, width, device="cuda")

    def run() -> None:
        for step in range(steps):
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % every == 0:
                loss.item()

    return run
