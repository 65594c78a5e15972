"""Hands in under its neighbour's name with a capital, a dot, a slash or a space more.

Must: take nobody's place; each is its own student or refused.
"""

FAMILY = "harm"
FAST = True


def make(folder, right):
    neighbour = next(path.name for path in folder.parent.iterdir() if path.name.endswith("-next"))
    for name in (neighbour.upper(), f"{neighbour} ", f" {neighbour}", f"{neighbour}.", f".{neighbour}"):
        place = folder.parent / name
        place.mkdir(parents=True)
        (place / "sums.py").write_text("def total(numbers):\n    return 0\n")
