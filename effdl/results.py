"""A week's recorded results, `weekNN/results/KIND.json`: what was measured on one kind of machine, and with what."""

import datetime
import fcntl
import json
import math
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from effdl import device


def machine() -> dict[str, Any]:
    """What a result was measured on. No host name, no user name."""
    return {
        "kind": device.kind_label(),
        "type": device.device().type,
        "device": device.describe().rsplit(", torch", 1)[0],
        "cpu": device.cpu_model(),
        "cores": device.cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    if device.device().type == "cuda":
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


def _rounded(value: Any) -> Any:
    """Four digits: the rest differs from run to run. JSON has no infinity and no NaN, so they become null."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def read(path: Path) -> dict[str, Any]:
    """What a results file holds. Raises ValueError for a file that holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); delete it and record the results again") from error
    if "kind" not in data.get("machine", {}):
        raise ValueError(f"{path} does not say which kind of machine it is of; delete it and record again")
    return data


def same_versions(then: dict[str, str], now: dict[str, str]) -> bool:
    """Whether the first two numbers are the same: 2.13.0 and 2.13.1 are, 2.13 and 2.11 are not."""
    same = (now.get(name, "").split(".")[:2] == version.split(".")[:2] for name, version in then.items())
    return bool(then) and all(same)


def recorded(folder: Path, key: str) -> dict[str, dict[str, Any]]:
    """What each kind of machine in a folder of results measured for a claim, by the name of the kind."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            data = read(path)
        except ValueError as error:
            print(error)  # a reader of the page can do without; whoever records or draws the table cannot
            continue
        for page in data["notebooks"].values():
            entry = page["claims"].get(key, {})
            if entry.get("measured") is not None:
                found[path.stem] = {**entry, "machine": data["machine"]["kind"], "versions": page["versions"]}
    return found


def add(notebook: Path, kind: str, key: str, order: int, entry: dict[str, Any]) -> None:
    """Put one value into the results of a kind of machine, beside the notebook's source; others may do so too."""
    folder = notebook.parent / "results"
    folder.mkdir(exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _merge(folder / f"{kind}.json", notebook.stem, key, order, entry)
    finally:
        os.close(lock)


def _merge(path: Path, notebook: str, key: str, order: int, entry: dict[str, Any]) -> None:
    """Put one value into a results file. The first of a run (order 0) replaces those of the notebook's last run."""
    here = machine()
    data = read(path) if path.exists() else {"machine": here, "notebooks": {}}
    claims = data["notebooks"][notebook]["claims"] if order else {}
    kept = {field: _rounded(value) for field, value in entry.items() if value not in ("", None)}
    claims[key] = {"measured": None, **kept, "order": order}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    data["machine"] = here
    data["notebooks"][notebook] = {"claims": claims, "date": today, "versions": versions()}
    write(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file in one step, so that no reader ever sees half of it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
