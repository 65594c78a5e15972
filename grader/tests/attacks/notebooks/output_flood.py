"""Prints 40 MB, as text and as rich results.

Must: earn nothing; the graded notebook stays of ordinary size.
"""

FAMILY = "harm"
FEEDBACK = True

# %% mean
from IPython.display import HTML, display

for _ in range(20):
    print("x" * 1_000_000)
    display(HTML("y" * 1_000_000))
