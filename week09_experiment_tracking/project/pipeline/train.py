"""Stage 2: train, and export the network. Goes on from a checkpoint, if a run before was killed.

TRACKER=ours, wandb or mlflow records the run in the folder that RUNS names.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from classifier.model import export
from classifier.training import Run, accuracy, train

torch.set_num_threads(1)


def tracked(facts: dict[str, Any]) -> contextlib.AbstractContextManager:
    """A run of the tracker that the environment names, or nothing."""
    if not (kind := os.environ.get("TRACKER")):
        return contextlib.nullcontext()
    from week09_experiment_tracking import trackers

    return trackers.begin(kind, Path(os.environ["RUNS"]), facts)


def flat(tree: dict[str, Any]) -> dict[str, Any]:
    """{"train": {"lr": 0.1}} as {"train.lr": 0.1}: what a tracker can be asked for."""
    return {f"{group}.{name}": value for group, values in tree.items() for name, value in values.items()}


def main(params: dict[str, Any], out: Path) -> float:
    """Train by `params`, write `out`, and return the accuracy on the test set."""
    with np.load("data/prepared.npz") as prepared:
        data = {part: prepared[part] for part in prepared.files}
    run = Run(params, data["images"], data["labels"])
    with tracked(flat(params)) as log:
        report = (lambda step, loss: log.log(step, loss=loss)) if log else (lambda step, loss: None)
        train(run, out.with_suffix(".checkpoint"), 25, report, int(os.environ.get("CRASH_AT", -1)))
        export(run.model, out)
        found = accuracy(run.model, data["test_images"], data["test_labels"])
        if log:
            log.log(run.steps, accuracy=found)
    return found


if __name__ == "__main__":
    main(yaml.safe_load(Path("params.yaml").read_text()), Path("model.npz"))
