"""Packs symbolic links to the hidden checks and the solution, fifos and devices, under the names of its modules.

Must: learn nothing and earn nothing; nothing but regular files is taken.
"""

import stat
import zipfile

FAMILY = "secrets"
FAST = True
SAYS = "a link or a special file"


def make(folder, right):
    with zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        for name, target, kind in (
            ("sums.py", "../../../source/hw/sums.py", stat.S_IFLNK),
            ("lab.ipynb", "../../../source/hw/lab.ipynb", stat.S_IFLNK),
            ("all", "/etc", stat.S_IFLNK),
            ("pipe.py", "", stat.S_IFIFO),
            ("device.py", "", stat.S_IFCHR),
        ):
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = (kind | 0o777) << 16
            archive.writestr(entry, target)
        archive.writestr("notes.txt", "the only honest file")
