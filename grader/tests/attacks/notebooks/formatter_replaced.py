"""Registers a formatter that prints every int as 3, the points that the test cell can give.

Must: earn nothing.
"""

FAMILY = "verdict"


# %% count
def count(words):
    return None


get_ipython().display_formatter.formatters["text/plain"].for_type(
    int, lambda value, printer, cycle: printer.text("3")
)
