"""Publishes a forged result of 3 points before each cell runs.

Must: earn nothing; the first result of a test cell is its own.
"""

FAMILY = "verdict"


# %% count
def count(words):
    return None


def forge(*_):
    shell = get_ipython()
    shell.displayhook.start_displayhook()
    shell.displayhook.write_format_data({"text/plain": "3"}, {})
    shell.displayhook.finish_displayhook()


get_ipython().events.register("pre_run_cell", forge)
