"""Files of a student's that a browser or another program would run."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

from grader.text import plain
from grader.tree import is_leftover, is_setting

_TEXT = "txt py md csv tsv json jsonl log toml yaml yml rst cfg ini sh c h cpp cu cl triton patch diff"
_SHOWN = {
    **dict.fromkeys(_TEXT.split(), "text/plain; charset=utf-8"),
    **{name: f"image/{name}" for name in ("png", "gif", "webp", "bmp")},
    **dict.fromkeys(("jpg", "jpeg"), "image/jpeg"),
}
# What a browser saves, or shows in a viewer without rights: data, weights, archives, and notebooks.
_SAVED = "ipynb pdf npy npz pt pth ckpt bin safetensors onnx pkl pickle parquet feather h5 hdf5 zip gz xz tar whl db"
_LONGEST = 255  # bytes of a name that file systems take


def content_type(name: str) -> str:
    """Return as what a browser may show a file, the empty string where it may only save it."""
    return _SHOWN.get(_ending(name), "")


def _ending(name: str) -> str:
    """Return what stands after the last dot, as a browser sees it: .html has an ending and no stem."""
    return os.path.basename(name).rpartition(".")[2].lower()


def is_active(name: str) -> bool:
    """Return whether a file called so might run when a browser opens it, or where a program is started beside it.

    Known to be still is what has no dot, or an ending that stands in the lists above.
    """
    still = "." not in name or _ending(name) in _SHOWN or _ending(name) in _SAVED.split()
    return is_setting(name) or is_leftover(name) or not still


def defuse(folder: Path, course: Path) -> list[str]:
    """Rename what a browser or another program might run out of a graded submission; return a note for each file.

    Formgrader serves the files beside a graded notebook under its own address, where a page of a student's would
    have the rights of the instructor; and nbgrader takes its configuration from any folder that a link names.
    Files that are, byte for byte, those of `course`, the folder of the assignment's source, stay as they are.
    """
    notes = []
    for current, _, names in os.walk(folder):
        for name in names:
            path = Path(current, name)
            relative = path.relative_to(folder)
            if is_active(name) and not _is_ours(path, course / relative):
                harmless = _free_name(path)
                path.rename(harmless)
                told = f"{plain(str(relative), 80)}: kept as {plain(harmless.name, 80)}"
                notes.append(f"{told}; a browser or another program might run the original")
    return notes


def _is_ours(path: Path, own: Path) -> bool:
    return own.is_file() and path.is_file() and filecmp.cmp(path, own, shallow=False)


def _free_name(path: Path) -> Path:
    """Return `path` with .txt after its name, which is cut where it is long, and told from what is there already."""
    for number in range(10_000):
        ending = f".{number}.txt" if number else ".txt"
        name = os.fsdecode(os.fsencode(path.name)[: _LONGEST - len(ending)]) + ending
        if not os.path.lexists(path.with_name(name)):
            return path.with_name(name)
    raise FileExistsError(f"{path}: ten thousand files are named like it")
