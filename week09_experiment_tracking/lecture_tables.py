"""Tables and small experiments of lecture 1 that are too long for its cells."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from effdl import bench
from effdl.notebook import CROSS, TICK, Table
from week09_experiment_tracking import configuration, differences, pickles, tracker, trackers

FACTS = {
    "config": {"lr": 0.1, "layers": 3, "name": "small"},
    "seed": 7,
    "code": {"commit": "0a1b", "diff": ""},
}


def same_run(folder: Path, steps: int = 60) -> dict[str, tracker.Found]:
    """One run with awkward numbers through each of the three trackers, read back."""
    numbers = [
        (step, {"loss": 1 / (step + 3), "accuracy": float("nan") if step == 7 else 0.1 * step})
        for step in range(steps)
    ]
    found = {}
    for kind in trackers.BEGIN:
        place = folder / kind
        place.mkdir(parents=True)
        with trackers.begin(kind, place, FACTS) as run:
            for step, metrics in numbers:
                run.log(step, **metrics)
        found[kind] = trackers.read(kind, place)
    return found


def unequal(found: Mapping[str, tracker.Found]) -> int:
    """Numbers and facts that differ from what our own tracker has, to the last bit, or are not there."""
    ours, wrong = found["ours"], 0
    for other in found.values():
        wrong += other.facts != ours.facts
        for key, rows in ours.metrics.items():
            theirs = dict(other.metrics.get(key, []))
            wrong += sum(step not in theirs or not tracker.same(value, theirs[step]) for step, value in rows)
    return wrong


def marks(rows: Mapping[str, Mapping[str, bool]], first: str) -> Table:
    """A table of yes and no."""
    headers = [first, *next(iter(rows.values()))]
    return Table(
        headers, [[name, *(TICK if value else "·" for value in row.values())] for name, row in rows.items()]
    )


def draws() -> Table:
    """One epoch of random numbers with 0, 1 and 2 workers, drawn in three ways."""
    rows = []
    for draw in differences.DRAWS:
        none, one, two = (differences.drawn(draw, workers) for workers in (0, 1, 2))
        rows.append([draw, TICK if none == one else CROSS, TICK if none == two else CROSS, len(set(two))])
    headers = [
        "the random numbers come from",
        "1 worker as none",
        "2 workers as none",
        "different numbers of 48 (2 workers)",
    ]
    return Table(headers, rows)


def accumulate(
    threads: int = 2, rows: int = 100_000
) -> tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]:
    """Two ways to sum rows that share an index: `index_put` as it is, and under `use_deterministic_algorithms`."""
    generator = torch.Generator().manual_seed(0)
    index, values = (
        torch.randint(1000, (rows,), generator=generator),
        torch.randn(rows, 16, generator=generator),
    )

    def put() -> torch.Tensor:
        return torch.zeros(1000, 16).index_put((index,), values, accumulate=True)

    return put, differences.deterministic(put)


def different(function: Callable[[], torch.Tensor], times: int = 20) -> int:
    """How many different results, to the last bit, a function has in so many calls."""
    return len({function().numpy().tobytes() for _ in range(times)})


def prices(pairs: int = 5) -> dict[str, bench.Ratio]:
    """What determinism costs here, in the time of the usual way: a sum by index, a step of training, new memory."""
    put, put_same = accumulate()
    training = differences.Variant()

    def short() -> object:
        return differences.run(training, [10])

    def empty() -> object:
        return torch.empty(4_000_000)

    found = {}
    torch.set_num_threads(2)
    try:
        times = bench.compare({"usual": put, "same": put_same}, pairs=pairs)
    finally:
        torch.set_num_threads(1)
    found["index_put, two threads"] = times.ratio("same", "usual")
    for name, function, fill in (
        ("ten steps of training", short, True),
        ("16 MB of new memory, filled", empty, True),
        ("16 MB of new memory, not filled", empty, False),
    ):
        times = bench.compare(
            {"usual": function, "same": differences.deterministic(function, fill)}, pairs=pairs
        )
        found[name] = times.ratio("same", "usual")
    return found


def loading(folder: Path) -> tuple[bench.Comparison, dict[str, int]]:
    """The same weights (32 MB) loaded from each format, warm; and the bytes of the files."""
    import safetensors.torch

    state = pickles.state()
    files = {"torch": folder / "w.pt", "safetensors": folder / "w.safetensors"}
    torch.save(state, files["torch"])
    safetensors.torch.save_file(state, files["safetensors"])

    def first(loaded: Mapping[str, torch.Tensor]) -> float:
        return sum(float(tensor[0]) for tensor in loaded.values())

    def every(loaded: Mapping[str, torch.Tensor]) -> float:
        return sum(float(tensor.sum()) for tensor in loaded.values())

    loads = {
        "torch.load": lambda: torch.load(files["torch"], weights_only=True),
        "torch.load, mmap": lambda: torch.load(files["torch"], weights_only=True, mmap=True),
        "safetensors": lambda: safetensors.torch.load_file(files["safetensors"]),
    }
    ways = {name: lambda load=load: first(load()) for name, load in loads.items()}
    ways |= {f"{name}, all numbers used": lambda load=load: every(load()) for name, load in loads.items()}
    return bench.compare(ways, pairs=6), {name: file.stat().st_size for name, file in files.items()}


def hashes() -> Table:
    """Three ways to give a configuration a name, and what three events do to it."""
    files, chosen = configuration.FILES, ["optimizer.lr=0.1"]
    later = files | {"optimizer/sgd": files["optimizer/sgd"] | {"momentum": 0.8}}
    newer = files | {"optimizer/sgd": files["optimizer/sgd"] | {"nesterov": False}}
    swapped = files | {"optimizer/sgd": dict(reversed(files["optimizer/sgd"].items()))}
    known = {path for path in configuration.paths(configuration.compose(files))}

    def named(tree: configuration.Tree) -> dict[str, str]:
        whole = configuration.compose(tree, chosen)
        old = {path: _value(whole, path) for path in configuration.paths(whole)}
        # keys that came later, with the value that means "as before", are left out
        old = {path: value for path, value in old.items() if path in known or value is not False}
        return {
            "the overrides": configuration.digest({"": chosen}),
            "the whole tree": configuration.digest(whole),
            "the tree without new keys at their neutral value": configuration.digest(old),
        }

    before = named(files)
    events = {
        "keys in another order": swapped,
        "a default changes (another run!)": later,
        "a new key, as before": newer,
    }
    changed = {event: named(tree) for event, tree in events.items()}
    rows = [
        [way, *("other" if changed[event][way] != before[way] else "same" for event in events)]
        for way in before
    ]
    return Table(["hash of", *events], rows)


def _value(tree: configuration.Tree, path: str) -> Any:
    for part in path.split("."):
        tree = tree[part]
    return tree
