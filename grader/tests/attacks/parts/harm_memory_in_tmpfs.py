"""Fills /tmp and /dev/shm, at most 2 GiB, and leaves the files there.

Must: be stopped, for files in memory count as memory, and leave nothing in the machine's own folders.
"""

FAMILY = "harm"
TARGET = "words"


def count(text):
    for folder in ("/tmp", "/dev/shm"):
        try:
            for number in range(8):
                with open(f"{folder}/fill{number}", "wb") as file:
                    for _ in range(32):
                        file.write(bytes(4 << 20))
        except OSError:
            continue
    return {}
