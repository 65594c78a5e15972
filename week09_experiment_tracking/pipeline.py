"""A pipeline that runs a stage again only where something that it depends on has another hash.

A stage is a command with the files that it reads, the parameters that it uses and the files that it makes. Its key is
the hash of all that goes in. After a run, the lock file keeps for each stage its key and the hashes of what it made,
which are in a :class:`store.Store`. On the next run a stage is skipped if key and outputs are as locked; if some
earlier run had this key, its outputs are taken from the store.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from week09_experiment_tracking.store import Store, digest
from week09_experiment_tracking.tracker import write_whole


@dataclass(frozen=True)
class Stage:
    """One step: what it runs, reads, uses and makes. `watched` names variables of the environment that it reads."""

    name: str
    command: str
    reads: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    watched: tuple[str, ...] = ()


class Pipeline:
    """Stages over the files of a folder, whose parameters stand in `params.yaml`."""

    def __init__(self, root: Path, stages: list[Stage]):
        self.root, self.lock = Path(root), Path(root) / "pipeline.lock"
        self.store = Store(self.root / ".store")
        self._stages = {stage.name: stage for stage in stages}

    def order(self) -> list[Stage]:
        """Stages such that each comes after those whose files it reads.

        Raises graphlib.CycleError for a circle, ValueError where two stages make one file.
        """
        maker: dict[str, str] = {}
        for stage in self._stages.values():
            for file in stage.makes:
                if maker.setdefault(file, stage.name) != stage.name:
                    raise ValueError(f"{file} is made by {maker[file]} and by {stage.name}")
        needs = {s.name: [maker[f] for f in s.reads if f in maker] for s in self._stages.values()}
        return [self._stages[name] for name in TopologicalSorter(needs).static_order()]

    def key(self, stage: Stage) -> str:
        """The hash of everything that goes into a stage, as it is now."""
        values = yaml.safe_load((self.root / "params.yaml").read_text())
        inputs = {
            "command": stage.command,
            "makes": stage.makes,
            "reads": {file: self._hash(file) for file in stage.reads},
            "params": {name: _at(values, name) for name in stage.params},
            "watched": {name: os.environ.get(name) for name in stage.watched},
        }
        return digest(json.dumps(inputs, sort_keys=True).encode())

    def _hash(self, file: str) -> str | None:
        return digest((self.root / file).read_bytes()) if (self.root / file).exists() else None

    def run(self) -> list[str]:
        """Bring everything up to date; return the names of the stages whose command ran.

        Raises subprocess.CalledProcessError for a command that fails, FileNotFoundError for a file that it did not
        make. The stages before it stay locked.
        """
        lock = json.loads(self.lock.read_text()) if self.lock.exists() else {"now": {}, "seen": {}}
        ran = []
        for stage in self.order():
            key = self.key(stage)
            if lock["now"].get(stage.name) == key and lock["seen"][key] == self._outputs(stage):
                continue
            if not self._restored(lock["seen"].get(key)):
                subprocess.run(stage.command, shell=True, cwd=self.root, check=True)
                made = {file: self.store.put((self.root / file).read_bytes()) for file in stage.makes}
                lock["seen"][key] = made
                ran.append(stage.name)
            lock["now"][stage.name] = key
            write_whole(self.lock, json.dumps(lock, indent=1, sort_keys=True).encode())
        return ran

    def _outputs(self, stage: Stage) -> dict[str, str | None]:
        return {file: self._hash(file) for file in stage.makes}

    def _restored(self, made: dict[str, str] | None) -> bool:
        if made is None or not set(made.values()) <= self.store.names():
            return False
        for file, name in made.items():
            write_whole(self.root / file, self.store.get(name))
        return True


def _at(values: object, name: str) -> object:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
