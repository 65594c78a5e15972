"""Has a name in Cyrillic letters, composed of letters and marks as macOS writes them.

Must: get full credit under that name.
"""

FAMILY = "accident"
FAST = True
STUDENT = "николай_чёрный"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    import unicodedata

    folder = folder.with_name(unicodedata.normalize("NFD", folder.name))
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
