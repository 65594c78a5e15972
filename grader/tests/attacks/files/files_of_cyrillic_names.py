"""Has helpers, data and a report with Cyrillic names, which its module needs.

Must: get full credit.
"""

FAMILY = "accident"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "помощь.py").write_text("def сумма(числа):\n    return sum(числа)\n", encoding="utf-8")
    (folder / "данные.csv").write_text("а,б\n1,2\n", encoding="utf-8")
    (folder / "отчёт.ipynb").write_text("{}")
    (folder / "sums.py").write_text(
        "from pathlib import Path\n\nfrom помощь import сумма\n\n\ndef total(numbers):\n"
        "    assert (Path(__file__).parent / 'данные.csv').exists()\n    return сумма(numbers)\n",
        encoding="utf-8",
    )
