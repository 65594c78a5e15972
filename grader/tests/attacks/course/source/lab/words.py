"""Text in, a dictionary out."""


def count(text: str) -> dict[str, int]:
    """Return how often each word stands in the text; case does not matter."""
    found: dict[str, int] = {}
    for word in text.lower().split():
        found[word] = found.get(word, 0) + 1
    return found
