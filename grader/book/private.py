"""Takes what a course keeps of its students from everybody else on the machine."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)


def close_to_others(paths: Iterable[Path], *, group: bool = False) -> None:
    """Let only their owner, and its `group` where a course is shared, read or enter these files and folders.

    Of a folder that others could enter so far, all that lies in it is closed too. What is not there is passed
    over; what belongs to somebody else, who alone can close it, is logged.
    """
    others = 0o007 if group else 0o077
    for path in paths:
        if not path.exists() or not stat.S_IMODE(path.stat().st_mode) & others:
            continue
        if os.geteuid() not in (0, path.stat().st_uid):
            log.warning("%s: others on this machine can read it, and only its owner can change that", path)
            continue
        _close(path, others)
        for current, folders, files in os.walk(path):
            for name in [*folders, *files]:
                _close(Path(current, name), others)


def _close(path: Path, others: int) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & others:
        path.chmod(stat.S_IMODE(mode) & ~others)
