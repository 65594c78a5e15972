"""Scans every page of its own memory, which is a copy of the zygote's, for canaries.

Must: learn nothing; the zygote never saw a check, an input or a name.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import re

PATTERN = re.compile(b"canary-[0-9a-f]{16}-[a-z-]+")


def count(text):
    found = set()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            start, end = (int(number, 16) for number in span.split("-"))
            if (
                "r" not in rights
                or line.rstrip().endswith("]")
                and "heap" not in line
                and "stack" not in line
            ):
                continue
            for at in range(start, end, 8 << 20):
                try:
                    memory.seek(at)
                    found.update(PATTERN.findall(memory.read(min(8 << 20, end - at))))
                except (OSError, ValueError, OverflowError):
                    break
    inputs = {word for word in found if word in text.lower().encode()}
    print(found - inputs)
    return {}
