"""Shows the arguments of a call as a picture's text, as an error and on stderr.

Must: learn nothing, wherever a cell with hidden tests shows it.
"""

FAMILY = "secrets"
FAST = True

# %% count
import sys

from IPython.display import HTML, display


def count(words):
    display(HTML(f"<b>{list(words)}</b>"))
    print(words, file=sys.stderr)
    raise ValueError(str(words))
