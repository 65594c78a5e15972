"""One thin interface over three trackers: our file of lines, W&B offline, MLflow on SQLite.

    with begin("mlflow", folder, facts) as run:
        run.log(0, loss=2.3)
    read("mlflow", folder)      # the same Found for all three

Nothing here needs a server, an account or a network.
"""

import contextlib
import json
import logging
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from effdl.data import cache_folder
from week09_experiment_tracking import tracker
from week09_experiment_tracking.children import wait_until
from week09_experiment_tracking.tracker import Found


class Log(Protocol):
    """What a training loop knows of a tracker."""

    def log(self, step: int, **metrics: float) -> None:
        """Keep these numbers under this step."""


class _Wandb:
    def __init__(self, run: Any):
        self._run = run

    def log(self, step: int, **metrics: float) -> None:
        self._run.log(metrics, step=step)


@contextmanager
def _wandb(folder: Path, facts: Mapping[str, Any]) -> Iterator[Log]:
    import wandb

    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        init_timeout=300,
    )
    run = wandb.init(project="week09", dir=str(folder), mode="offline", config=dict(facts), settings=quiet)
    try:
        yield _Wandb(run)
    finally:
        run.finish()
        # finish() returns while a process of W&B's own still writes: a reader waits for the last record.
        wait_until(lambda: _read_wandb(folder).finished, seconds=30)


class _Mlflow:
    def __init__(self, client: Any, run: str):
        self._client, self._run = client, run

    def log(self, step: int, **metrics: float) -> None:
        self.log_many([(step, metrics)])

    def log_many(self, rows: list[tuple[int, Mapping[str, float]]]) -> None:
        """Several steps in one transaction: what a loop should collect before it calls."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entries = [Metric(key, value, now, step) for step, metrics in rows for key, value in metrics.items()]
        self._client.log_batch(self._run, entries)


def _client(folder: Path) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    file = Path(folder).resolve() / "mlflow.db"
    if not file.exists():
        shutil.copy(empty_database(), file)
    return MlflowClient(f"sqlite:///{file}")


def empty_database() -> Path:
    """An MLflow database without a run, in the cache: MLflow lays it out in some ten seconds, by migrations."""
    import mlflow

    kept = cache_folder() / f"mlflow-{mlflow.__version__}.db"
    if not kept.exists():
        from mlflow.tracking import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
            tracker.write_whole(kept, (Path(folder) / "mlflow.db").read_bytes())
    return kept


def prepare() -> float:
    """Have the empty database ready; the seconds that it took, 0 where it was."""
    began = time.monotonic()
    empty_database()
    return time.monotonic() - began


@contextmanager
def _mlflow(folder: Path, facts: Mapping[str, Any]) -> Iterator[Log]:
    client = _client(folder)
    known = client.get_experiment_by_name("week09")
    experiment = (
        known.experiment_id if known else client.create_experiment("week09", str(Path(folder) / "files"))
    )
    run = client.create_run(experiment).info.run_id
    for (
        key,
        value,
    ) in facts.items():  # MLflow keeps text: a fact that is to come back as it was goes in as JSON
        client.log_param(run, key, json.dumps(value, sort_keys=True))
    try:
        yield _Mlflow(client, run)
    except BaseException:
        client.set_terminated(run, "FAILED")
        raise
    client.set_terminated(run)


@contextmanager
def _ours(folder: Path, facts: Mapping[str, Any]) -> Iterator[Log]:
    with tracker.Run(Path(folder) / "runs", facts) as run:
        yield run


BEGIN: dict[str, Callable[..., Any]] = {"ours": _ours, "wandb": _wandb, "mlflow": _mlflow}


def begin(kind: str, folder: Path, facts: Mapping[str, Any]) -> contextlib.AbstractContextManager[Log]:
    """A run of one of the three, as a context. Raises KeyError for another kind."""
    return BEGIN[kind](Path(folder), facts)


def read(kind: str, folder: Path) -> Found:
    """The latest run of a folder, whoever wrote it."""
    return {"ours": _read_ours, "wandb": _read_wandb, "mlflow": _read_mlflow}[kind](Path(folder))


def _read_ours(folder: Path) -> Found:
    return tracker.search(folder / "runs")[-1]


def _read_mlflow(folder: Path) -> Found:
    client = _client(folder)
    experiment = client.get_experiment_by_name("week09").experiment_id
    run = client.search_runs([experiment], order_by=["attributes.start_time DESC"], max_results=1)[0]
    facts = {key: json.loads(value) for key, value in run.data.params.items()}
    found = Found(run.info.run_id, facts, finished=run.info.status == "FINISHED")
    for key in run.data.metrics:
        rows = client.get_metric_history(run.info.run_id, key)
        found.metrics[key] = [(row.step, row.value) for row in sorted(rows, key=lambda row: row.step)]
    return found


def _read_wandb(folder: Path) -> Found:
    from wandb.proto import wandb_internal_pb2 as messages

    file = max(Path(folder).glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    found = Found(file.stem.removeprefix("run-"), {})
    for block in _leveldb_records(file.read_bytes()):
        record = messages.Record()
        record.ParseFromString(block)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            entries = record.run.config.update
            found.facts |= {e.key: json.loads(e.value_json) for e in entries if e.key != "_wandb"}
        elif kind == "history":
            row = {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            for key, value in row.items():
                if not key.startswith("_"):
                    found.metrics.setdefault(key, []).append((row["_step"], float(value)))
        found.finished |= kind == "exit"
    return found


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of an offline run. W&B keeps them as LevelDB keeps its log: in blocks of 32 KiB.

    Each piece has a header of seven bytes: checksum, length, and whether it is a whole record (1) or the first, a
    middle or the last piece of one (2, 3, 4). What is torn at the end is left out.
    """
    place, parts = 7, b""  # behind the file's own header
    while place + 7 <= len(content):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        piece = content[place + 7 : place + 7 + length]
        if kind == 0 or len(piece) < length:
            return
        parts = piece if kind in (1, 2) else parts + piece
        if kind in (1, 4):
            yield parts
        place += 7 + length
