"""Writes names, strings and prints in Cyrillic, with emoji and a lone surrogate in the output.

Must: get full credit.
"""

FAMILY = "accident"
FEEDBACK = True
DESERVES = 7


# %% mean
def среднее(числа):
    """Среднее арифметическое."""
    return sum(числа) / len(числа) if числа else 0.0


print("Привет, мир \U0001f600 \ud83d")
mean = среднее


# %% count
def count(слова):
    return {слово: list(слова).count(слово) for слово in слова}
