"""What a checkpoint file can do, who sees it coming, and who refuses it.

A pickle is a program for a small machine. Two of its instructions are enough for harm: one fetches any function by
its name, one calls it. The files here are harmless: what they call makes an empty folder or a small file in the
current folder, which is a scratch folder of a process of its own. A scanner reads the program and looks for bad names
(a deny-list). An allow-list knows the few names that a checkpoint needs, and refuses all others.
"""

import bz2
import contextlib
import gzip
import io
import json
import os
import pickle
import pickletools
import resource
import sqlite3
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from week09_experiment_tracking.children import Fork

MARK = "mark"


class Calls:
    """An object whose pickle says: call this function with these arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def payloads() -> dict[str, Calls]:
    """Objects whose pickles leave a mark in the current folder when they are loaded."""
    return {
        "os.mkdir": Calls(os.mkdir, MARK),
        "builtins.exec": Calls(exec, f"import os; os.mkdir({MARK!r})"),
        "builtins.open": Calls(open, MARK, "w"),
        "tempfile.mkdtemp": Calls(tempfile.mkdtemp, "", MARK, "."),
        "zipfile.ZipFile": Calls(zipfile.ZipFile, MARK, "w"),
        "sqlite3.connect": Calls(sqlite3.connect, MARK),
        "bz2.BZ2File": Calls(bz2.BZ2File, MARK, "w"),
        "gzip.open": Calls(gzip.open, MARK, "w"),
        "numpy.savetxt": Calls(np.savetxt, MARK, [1.0]),
        "torch.save": Calls(torch.save, [1.0], MARK),
    }


def honest() -> dict[str, Any]:
    """What people keep in checkpoints, and may."""
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "numbers and texts": {"epoch": 3, "loss": 0.25, "name": "a"},
        "state dict": net.state_dict(),
        "optimizer state": optimizer.state_dict(),
        "NumPy array": np.arange(3.0),
    }


def file_of(thing: Any) -> bytes:
    """A checkpoint with this object in it, as torch.save writes it: a zip file with a pickle inside."""
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(2), "thing": thing}, buffer)
    return buffer.getvalue()


# --- who sees it coming


def picklescan_says(content: bytes) -> bool:
    """Whether picklescan reports the file as infected."""
    from picklescan.scanner import scan_bytes

    found = scan_bytes(io.BytesIO(content), "model.pt", ".pt")
    return found.issues_count > 0


def fickling_says(content: bytes) -> bool:
    """Whether fickling's analysis of the pickle inside finds it to be more than likely safe."""
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return check_safety(Pickled.load(archive.read(inside))).severity > Severity.LIKELY_SAFE


# --- who refuses


class OnlyThese(pickle.Unpickler):
    """An unpickler that knows the names on its list, and refuses every other before anything is called."""

    def __init__(self, file: io.BytesIO, allowed: set[tuple[str, str]]):
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not on the list of what a checkpoint may name")
        return super().find_class(module, name)


def load_listed(content: bytes, allowed: set[tuple[str, str]] | None = None) -> Any:
    """Unpickle with a list: by default what NumPy arrays need, and nothing else."""
    return OnlyThese(io.BytesIO(content), ALLOWED if allowed is None else allowed).load()


ALLOWED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}


# --- what happens


def loaded(content: bytes, load: Callable[[bytes], Any], suffix: str = ".pt") -> dict[str, Any]:
    """Load a file in a fork of this process, in an empty folder, with little memory and few files: what came of it.

    Returns `marked` (something was written) and `refused` (the error's first line, or "").
    """
    with tempfile.TemporaryDirectory() as folder:

        def inside(pipe: int) -> None:
            os.chdir(folder)
            os.environ.clear()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
            try:
                load(content)
                os.write(pipe, b"\n")
            except Exception as error:
                os.write(pipe, (f"{type(error).__name__}: {error}".splitlines()[0][:200] + "\n").encode())

        child = Fork(inside)
        refused = child.line().decode().strip()
        child.end()
        return {"marked": bool(os.listdir(folder)), "refused": refused}


def by_torch(weights_only: bool) -> Callable[[bytes], Any]:
    """torch.load of a file's bytes."""
    return lambda content: torch.load(io.BytesIO(content), weights_only=weights_only)


def by_fickling(content: bytes) -> Any:
    """torch.load with fickling's allow-list for machine learning in place of pickle's unpickler."""
    from fickling.hook import activate_safe_ml_environment

    activate_safe_ml_environment()
    return by_torch(False)(content)


def table() -> dict[str, dict[str, bool]]:
    """For each payload and each honest object: who marks it, who reports it, who refuses it."""
    torch.set_num_threads(1)
    rows = {}
    for name, thing in {**payloads(), **honest()}.items():
        content = file_of(thing)
        rows[name] = {
            "marks when loaded": loaded(content, by_torch(False))["marked"],
            "picklescan reports": picklescan_says(content),
            "fickling reports": fickling_says(content),
        }
        lists = {
            "weights_only": loaded(content, by_torch(True)),
            "fickling's list": loaded(content, by_fickling),
            "our list": loaded(pickle.dumps(_without_tensors(thing)), load_listed),
        }
        rows[name] |= {f"{which} refuses": bool(came["refused"]) for which, came in lists.items()}
        rows[name]["marks under a list"] = any(came["marked"] for came in lists.values())
    return rows


def _without_tensors(thing: Any) -> Any:
    """The same with NumPy arrays for tensors: what our list is for."""
    if isinstance(thing, torch.Tensor):
        return thing.detach().numpy()
    if isinstance(thing, dict):
        return type(thing)((key, _without_tensors(value)) for key, value in thing.items())
    if isinstance(thing, list | tuple):
        return type(thing)(_without_tensors(value) for value in thing)
    return thing


def exercise_cases() -> list[tuple[tuple, Any]]:
    """Pickles with lists, for the exercise: what loads, and what is refused by its first unlisted name."""
    ordered = {("collections", "OrderedDict")}
    return [
        ((pickle.dumps([1, "a", 2.5]), set()), [1, "a", 2.5]),
        ((pickle.dumps(OrderedDict(a=1)), ordered), OrderedDict(a=1)),
        ((pickle.dumps(OrderedDict(a=1)), set()), "refused: collections.OrderedDict"),
        ((pickle.dumps(Calls(len, "abc")), ordered), "refused: builtins.len"),
        ((pickle.dumps([OrderedDict(), Calls(divmod, 7, 2)]), ordered), "refused: builtins.divmod"),
        ((pickle.dumps(Calls(divmod, 7, 2)), {("builtins", "divmod")}), (3, 1)),
    ]


# --- the same pickle, in other wrappings


def containers() -> dict[str, tuple[bytes, Callable[[bytes], Any], str]]:
    """One payload that every scanner knows, in seven wrappings: content, what loads it, usual ending of its name."""
    import joblib
    import pandas

    thing = Calls(os.mkdir, MARK)
    plain = pickle.dumps(thing)
    old, array, job, legacy = io.BytesIO(), io.BytesIO(), io.BytesIO(), np.empty(1, dtype=object)
    torch.save({"thing": thing}, old, _use_new_zipfile_serialization=False)
    legacy[0] = thing
    np.save(array, legacy, allow_pickle=True)
    joblib.dump([thing], job, compress=("lzma", 3))

    def of_pandas(content: bytes) -> Any:
        return pandas.read_pickle(io.BytesIO(content), compression="xz")

    return {
        "pickle": (plain, pickle.loads, ".pkl"),
        "torch.save": (file_of(thing), by_torch(False), ".pt"),
        "torch.save, old format": (old.getvalue(), by_torch(False), ".pt"),
        "NumPy, array of objects": (
            array.getvalue(),
            lambda c: np.load(io.BytesIO(c), allow_pickle=True),
            ".npy",
        ),
        "joblib, compressed": (job.getvalue(), lambda c: joblib.load(io.BytesIO(c)), ".joblib"),
        "pandas, compressed": (__import__("lzma").compress(plain), of_pandas, ".pkl.xz"),
        "a pickle in a pickle": (pickle.dumps(Calls(_rebuild, plain)), pickle.loads, ".pkl"),
    }


def _rebuild(content: bytes) -> Any:
    """What a package of its own might have: a helper that unpickles."""
    return pickle.loads(content)


def wrapped() -> dict[str, dict[str, Any]]:
    """Each wrapping: whether it marks when loaded, and what picklescan says of a file with that ending."""
    from picklescan.scanner import scan_file_path

    rows = {}
    for name, (content, load, suffix) in containers().items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"model{suffix}"
            file.write_bytes(content)
            with contextlib.redirect_stderr(io.StringIO()):
                result = scan_file_path(str(file))
            if result.issues_count:
                said = "reported"
            elif result.scan_err:
                said = "could not read it"
            else:
                said = "nothing found" if result.scanned_files else "not scanned"
        rows[name] = {"marks": loaded(content, load)["marked"], "picklescan": said}
    return rows


def instructions(thing: Any) -> list[str]:
    """The program of a pickle, an instruction a line."""
    lines = io.StringIO()
    pickletools.dis(pickletools.optimize(pickle.dumps(thing, protocol=4)), lines)
    return lines.getvalue().splitlines()


# --- safetensors: a header of JSON, then the numbers


def header_of(content: bytes, most: int = 100_000_000) -> dict[str, Any]:
    """The header of a safetensors file, checked: sizes fit the types, and the pieces fill the rest without a gap.

    Raises ValueError for a file whose header is longer than `most` or than the file, or that says something else
    than the bytes behind it.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(most, len(content) - 8):
        raise ValueError(f"the header claims {length:,} bytes; the file has {len(content):,}")
    header = json.loads(content[8 : 8 + length])
    end = 0
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    for entry in sorted(entries, key=lambda entry: entry["data_offsets"]):
        begin, stop = entry["data_offsets"]
        wanted = int(np.prod(entry["shape"], dtype=object)) * SIZES[entry["dtype"]]
        if begin != end or stop - begin != wanted:
            raise ValueError(f"a tensor of {wanted:,} bytes stands at {begin:,} to {stop:,}, behind {end:,}")
        end = stop
    if end != len(content) - 8 - length:
        raise ValueError(f"{len(content) - 8 - length - end:,} bytes behind the last tensor belong to nobody")
    return header


SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def crafted() -> dict[str, bytes]:
    """Files that look like safetensors and are not, or not only."""
    import safetensors.torch

    good = safetensors.torch.save({"w": torch.zeros(4)})

    def with_header(header: dict, data: bytes) -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle.dumps({"w": 1}))
        zipped.writestr("archive/version", "3")
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return {
        "good": good,
        "a header of 2^62 bytes": (1 << 62).to_bytes(8, "little") + good[8:],
        "a shape of 2^40 numbers": with_header({"w": entry | {"shape": [1 << 40]}}, b"\0" * 16),
        "two tensors on the same bytes": with_header({"w": entry, "v": entry}, b"\0" * 16),
        "a zip archive behind the tensors": good + archive.getvalue(),
        "cut off": good[:-4],
    }


def formats() -> dict[str, dict[str, str]]:
    """What the library and our reader of headers say of each crafted file; and zipfile, which reads from the end."""
    import safetensors.torch

    rows = {}
    for name, content in crafted().items():
        rows[name] = {}
        for reader, read in {"safetensors": safetensors.torch.load, "ours": header_of}.items():
            try:
                read(content)
                rows[name][reader] = "loads"
            except Exception as error:  # the library's own kind, or ours
                rows[name][reader] = f"refused: {str(error).split(':')[-1].strip()[:60]}"
        rows[name]["zipfile"] = "a zip archive" if zipfile.is_zipfile(io.BytesIO(content)) else "no archive"
    return rows


def cannot_hold() -> dict[str, str]:
    """What safetensors says to things that a checkpoint has besides tensors of its own."""
    import safetensors.torch

    tied = torch.zeros(4, 4)
    things = {
        "a number": {"step": 3},
        "a dict of dicts": {"state": {"w": torch.zeros(2)}},
        "two names for one tensor": {"in": tied, "out": tied},
        "every second column": {"w": torch.zeros(4, 4)[:, ::2]},
        "a text, as metadata": None,
    }
    said = {}
    for name, thing in things.items():
        try:
            if thing is None:
                safetensors.torch.save({"w": tied}, metadata={"step": "3"})
            else:
                safetensors.torch.save(thing)
            said[name] = "held"
        except Exception as error:
            said[name] = f"refused: {str(error).strip().splitlines()[0][:60]}"
    return said


def everything() -> dict[str, Any]:
    """All tables of this module, from one process."""
    return {"table": table(), "wrapped": wrapped(), "formats": formats(), "cannot hold": cannot_hold()}


def state(millions: int = 8) -> "OrderedDict[str, torch.Tensor]":
    """So many million float32 weights in sixteen tensors."""
    return OrderedDict((f"layer{i}.weight", torch.randn(millions * 1_000_000 // 16)) for i in range(16))
