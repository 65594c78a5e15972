"""The same compositions by Hydra and OmegaConf; and overrides at random, for both."""

import random
from pathlib import Path
from typing import Any

import yaml

from week09_experiment_tracking.configuration import FILES, Tree, compose, digest, paths


def write(folder: Path, files: dict[str, Tree] = FILES) -> Path:
    """The files as Hydra wants them: one YAML each; what the first says itself comes after its groups."""
    for name, tree in files.items():
        target = folder / f"{name}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        if "defaults" in tree:
            tree = tree | {"defaults": [*tree["defaults"], "_self_"]}
        target.write_text(yaml.safe_dump(tree))
    return folder


def composed(folder: Path, overrides: list[str]) -> Tree:
    """Hydra's tree of these files, with all references resolved."""
    import hydra
    from omegaconf import OmegaConf

    with hydra.initialize_config_dir(str(folder.resolve()), version_base="1.3"):
        tree = hydra.compose("config", overrides)
    return OmegaConf.to_container(tree, resolve=True)


def random_overrides(seed: int) -> list[str]:
    """Up to five overrides that both must accept: choices of a group, values of every kind, new ones, deletions."""
    rng = random.Random(seed)
    model, optimizer = rng.choice(["small", "wide"]), rng.choice(["sgd", "adam"])
    tree = compose(FILES, [f"model={model}", f"optimizer={optimizer}"])
    values = ["1e-3", "0.5", "7", "true", "text", "no", "[1,2]", "null", "${seed}", "-2.5e2"]
    plain = [path for path in paths(tree) if path not in ("epochs", "seed") and not path.endswith("kind")]
    texts = [f"model={model}", f"optimizer={optimizer}", f"seed={rng.randrange(99)}"]
    texts += [f"{path}={rng.choice(values)}" for path in rng.sample(plain, rng.randrange(3))]
    texts += [f"+{rng.choice(['extra', 'model.extra', 'new.deep.er'])}={rng.choice(values)}"] * (
        rng.random() < 0.5
    )
    return texts


def disagreements(folder: Path, count: int) -> list[list[str]]:
    """Those of so many random lists of overrides for which Hydra's tree is not ours."""
    texts = [random_overrides(seed) for seed in range(count)]
    return [t for t in texts if digest(composed(folder, t)) != digest(compose(FILES, t))]


def misspelt(seed: int, count: int) -> list[str]:
    """Overrides for values of the page's configuration, with one letter wrong, doubled or left out."""
    rng, known = random.Random(seed), list(paths(compose(FILES)))
    made: list[str] = []
    while len(made) < count:
        path = rng.choice(known)
        place = rng.randrange(len(path))
        if path[place] != ".":
            other = rng.choice(["", path[place] * 2, rng.choice("abcdefgh")])
            wrong = path[:place] + other + path[place + 1 :]
            if wrong not in known and ".." not in wrong and not wrong.endswith(".") and wrong[0] != ".":
                made.append(f"{wrong}=0.5")
    return made


def accepted(folder: Path, texts: list[str]) -> dict[str, int]:
    """How many of these overrides each way takes without a word."""

    def nested(path: str, value: Any) -> Tree:
        head, _, rest = path.partition(".")
        return {head: nested(rest, value) if rest else value}

    import argparse

    from omegaconf import OmegaConf

    def update(text: str) -> None:
        path, _, value = text.partition("=")
        OmegaConf.merge(OmegaConf.create(compose(FILES)), nested(path, float(value)))

    def known_args(text: str) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for path in paths(compose(FILES)):
            parser.add_argument(f"--{path}")
        parser.parse_known_args([f"--{text}"])

    ways = {
        "argparse, parse_known_args": known_args,
        "OmegaConf.merge": update,
        "Hydra": lambda text: composed(folder, [text]),
        "ours": lambda text: compose(FILES, [text]),
    }
    found = dict.fromkeys(ways, 0)
    for name, way in ways.items():
        for text in texts:
            try:
                way(text)
            except Exception:  # each way has an error of its own for it
                continue
            found[name] += 1
    return found


def readings(texts: list[str]) -> list[list[str]]:
    """What PyYAML, OmegaConf and we make of a value that stands in a file."""
    from omegaconf import OmegaConf

    from week09_experiment_tracking.configuration import parsed

    rows = []
    for text in texts:
        plain, omega = yaml.safe_load(f"x: {text}")["x"], OmegaConf.create(f"x: {text}")["x"]
        rows.append(
            [text, *(f"{value!r} ({type(value).__name__})" for value in (plain, omega, parsed(text)))]
        )
    return rows
