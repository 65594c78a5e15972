"""Stage 3: what the exported network is worth on images that it has not seen, for each table of the raw data."""

import json
from pathlib import Path

import numpy as np

from classifier.inference import Classifier

with np.load("data/prepared.npz") as prepared:
    images, labels, source = (prepared[f"test_{name}"] for name in ("images", "labels", "source"))
right = Classifier(Path("model.npz")).scores(images).argmax(1) == labels
shares = {f"scanner{one + 1}": round(right[source == one].mean(), 4) for one in np.unique(source)}
Path("metrics.json").write_text(json.dumps({"images": len(labels), "accuracy": shares}) + "\n")
