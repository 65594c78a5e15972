"""All stages, one after the other, on two small tables: does what one writes suit the next?"""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PARAMS = {
    "data": {"held_out": 0.3, "salt": ""},
    "model": {"width": 16, "dropout": 0.1},
    "train": {"seed": 0, "epochs": 6, "batch": 32, "lr": 0.1, "momentum": 0.9},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty project whose images are columns: their label is the column with ink."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    for name in ("scanner1", "scanner2"):
        labels = random.integers(0, 8, 120)
        images = random.integers(0, 4, (120, 8, 8))
        images[np.arange(120), :, labels] += 10
        rows = np.column_stack([images.reshape(120, 64), labels])
        np.savetxt(tmp_path / "data" / "raw" / f"{name}.csv", rows, fmt="%d", delimiter=",")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return tmp_path


def stage(name):
    runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")


def test_the_stages_fit_together_and_learn(folder):
    for name in ("prepare", "train", "evaluate"):
        stage(name)
    found = json.loads((folder / "metrics.json").read_text())
    assert set(found["accuracy"]) == {"scanner1", "scanner2"}
    assert min(found["accuracy"].values()) > 0.4
    assert not (folder / "model.checkpoint").exists()


def test_no_image_is_on_both_sides_even_if_it_comes_twice(folder):
    shutil.copy(folder / "data" / "raw" / "scanner1.csv", folder / "data" / "raw" / "scanner3.csv")
    stage("prepare")
    with np.load(folder / "data" / "prepared.npz") as prepared:
        trained, held = ({image.tobytes() for image in prepared[name]} for name in ("images", "test_images"))
        assert len(prepared["images"]) + len(prepared["test_images"]) == 360
    assert not trained & held


def test_the_same_input_gives_the_same_bytes(folder):
    stage("prepare")
    files = []
    for _ in range(2):
        stage("train")
        files.append((folder / "model.npz").read_bytes())
    assert files[0] == files[1]
