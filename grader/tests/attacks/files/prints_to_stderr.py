"""Warns, logs, prints and shows progress on stderr while its module is tested.

Must: get full credit.
"""

FAMILY = "accident"
STOCK = "concerns the module"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "sums.py").write_text(
        "import logging\nimport sys\nimport warnings\n\nwarnings.warn('old')\n\n\ndef total(numbers):\n"
        "    logging.error('look')\n    for step in range(1000):\n"
        "        print(f'\\r{step} of 1000', end='', file=sys.stderr)\n        print('x')\n"
        "    return sum(numbers)\n"
    )
