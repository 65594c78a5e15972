"""Reads, maps and follows every descriptor that it inherited, and walks up from each.

Must: learn nothing; it has three streams and one socket.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import os


def count(text):
    names = {}
    for number in range(256):
        try:
            names[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        for way in ("..", "../..", "../../..", "checks", "course.toml"):
            try:
                descriptor = os.open(way, os.O_RDONLY, dir_fd=number)
                print(way, os.listdir(descriptor))
            except OSError:
                continue
        try:
            os.set_blocking(number, False)
            print(number, os.pread(number, 65536, 0))
        except OSError:
            continue
    print(names)
    return {} if len(names) > 6 else {"descriptors": -1}
