"""Draws plots and shows tables in its answers.

Must: get full credit.
"""

FAMILY = "accident"
FEEDBACK = True
DESERVES = 7

# %% mean
import matplotlib.pyplot as plt


def mean(values):
    plt.plot(values)
    return sum(values) / len(values) if values else 0.0


plt.plot([1, 2, 3])
plt.show()


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
