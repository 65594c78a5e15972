"""Stage 1: the raw tables to images and labels, in two parts."""

from pathlib import Path

import numpy as np
import yaml

from classifier import data

params = yaml.safe_load(Path("params.yaml").read_text())["data"]
images, labels, source = data.read(Path("data/raw"))
test = data.held_out(images, params["held_out"], params["salt"])
parts = {"images": images, "labels": labels, "source": source}
np.savez(
    "data/prepared.npz",
    **{name: part[~test] for name, part in parts.items()},
    **{f"test_{name}": part[test] for name, part in parts.items()},
)
