"""Registers a handler for every exception, which is IPython's own way to show nothing.

Must: earn nothing.
"""

FAMILY = "verdict"


# %% mean
def mean(values):
    return -1.0


get_ipython().set_custom_exc((BaseException,), lambda shell, kind, value, trace, tb_offset=None: None)
