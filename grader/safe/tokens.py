"""Python code of a stranger as copydetect compares it: names, texts and comments taken out. For `grader.safe.apart`.

Whatever pygments makes of hostile text, it makes it in a child that has a clock.
"""

from __future__ import annotations

from typing import Any


def warm_up() -> None:
    """Import what the children share."""
    from copydetect import utils
    from pygments import lexers

    utils.filter_code("x = 1\n", "", "python")
    lexers.get_lexer_by_name("python")


def filtered(texts: list[str]) -> list[tuple[str, list[list[int]]]]:
    """Return for each text what is compared of it, and where which number of characters was left out (copydetect)."""
    from copydetect import utils

    found: list[tuple[str, Any]] = []
    for text in texts:
        code, offsets = utils.filter_code(text, "", "python")
        found.append((code, offsets.tolist()))
    return found
