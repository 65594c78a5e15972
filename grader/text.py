"""Text that came from a submission, before anybody is shown it."""

import re
from typing import Any


def plain(value: Any, limit: int) -> str:
    """Return text of a submission as one line without control or direction characters, at most `limit` long."""
    text = value if isinstance(value, str) else str(value)[: limit + 1] if isinstance(value, int) else ""
    hidden = r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\s]+"
    text = re.sub(hidden, " ", text[: 4 * limit])
    return text if len(text) <= limit else text[: limit - 3] + "..."
