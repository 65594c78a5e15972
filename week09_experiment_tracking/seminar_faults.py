"""Faults of the script and of those who took it apart, as edits of the project: each fault alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """A fault: its name, the file, the text and what stands there instead."""

    name: str
    file: str
    old: str
    new: str


FAULTS = (
    Fault("evaluation without eval()", "classifier/training.py", "    model.eval()\n", ""),
    Fault("no seed", "classifier/training.py", 'torch.manual_seed(train["seed"])', "torch.seed()"),
    Fault(
        "images are augmented, then split",
        "prepare.py",
        "test = data.held_out(",
        "images, labels = data.augmented(images, labels)\nsource = np.tile(source, 5)\ntest = data.held_out(",
    ),
    Fault(
        "the split is drawn",
        "classifier/data.py",
        "return np.array(hashes, np.float64) < share * 2**32",
        "return np.random.default_rng(0).random(len(hashes)) < share",
    ),
    Fault(
        "scaled by the statistics of whatever comes in",
        "classifier/data.py",
        "return images.astype(np.float32) / LARGEST",
        "return ((images - images.mean()) / (images.std() + 1e-6)).astype(np.float32)",
    ),
    Fault("evaluation leaves the model in eval()", "classifier/training.py", "    model.train(mode)\n", ""),
    Fault(
        "the last batch is not evaluated",
        "classifier/training.py",
        "range(0, len(x), batch)",
        "range(0, len(x) - batch + 1, batch)",
    ),
    Fault("a checkpoint without the state of dropout", "classifier/training.py",
          '        torch.set_rng_state(state["dropout"])\n', ""),
    Fault("a checkpoint without momentum", "classifier/training.py",
          '        self.velocity = state["velocity"]\n', ""),
    Fault(
        "batch norm's variance is exported without its epsilon",
        "classifier/model.py",
        "(after.running_var.double() + after.eps)",
        "(after.running_var.double())",
    ),
)  # fmt: skip
"""The first five are those of the script."""


def planted(folder: Path, faults: tuple[Fault, ...] = FAULTS) -> dict[str, Mapping[str, str]]:
    """For `forked_pytest.outcomes`: the project with each fault, and without any as "no fault".

    Raises ValueError if a fault's text is not in its file exactly once.
    """
    found: dict[str, Mapping[str, str]] = {"no fault": {}}
    for fault in faults:
        text = (folder / fault.file).read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            raise ValueError(
                f"{fault.name}: {fault.file} has the text {text.count(fault.old)} times, not once"
            )
        found[fault.name] = {fault.file: text.replace(fault.old, fault.new)}
    return found
