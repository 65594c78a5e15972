"""Answers with terminal escapes, bells and directions of writing, which rewrite what an instructor reads.

Must: fail with a sentence that shows no control character.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"


def count(text):
    return "\x1b[2J\x1b]0;passed\x07\x1b[32m2 of 2\x9b0m \u202e\u2066 spoofed \r\n[passed]"
