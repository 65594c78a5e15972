"""Asks the garbage collector for every object there is and prints those that look like tests.

Must: learn nothing.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import gc
import types


def count(text):
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and (
            "check" in thing.__module__ or "hidden" in thing.__name__
        ):
            print(thing.__module__, thing.__name__, thing.__code__.co_consts)
        elif isinstance(thing, dict):
            for key, value in list(thing.items()):
                if isinstance(value, str) and "canary-" in value and value.lower() not in text.lower():
                    print(repr(key)[:100], value[:200])
    return {}
