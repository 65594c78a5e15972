"""Answers with the inputs of hidden checks, and prints them, to read them in the feedback beside "yours".

Must: earn nothing and read nothing of hidden inputs in its feedback.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import sys


def count(text):
    print(text)
    print(text, file=sys.stderr)
    return {word: 0 for word in text.split()}
