"""Hands in a tar file with absolute names, in place of a zip file.

Must: be left alone, with a sentence that says what to hand in.
"""

import io
import tarfile

FAMILY = "harm"
SAYS = "neither a folder nor a zip file"


def make(folder, right):
    with tarfile.open(f"{folder}.tar.gz", "w:gz") as archive:
        for name in ("/tmp/evil-by-tar.txt", "../../outside/precious.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"evil"))
