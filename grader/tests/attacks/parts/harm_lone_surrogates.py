"""Raises an error and answers with text that is no Unicode: lone surrogates, which no file can hold.

Must: fail with a sentence that can be written down.
"""

FAMILY = "harm"
FAST = True
TARGET = "words"


def count(text):
    if "dog" in text.lower():
        return {"\ud800\udfff the": "\udcff" * 3}
    raise ValueError("\ud800 half a letter \udc80")
