"""Catches every interrupt and goes on.

Must: be stopped by force within the limit and a few seconds.
"""

FAMILY = "harm"

# %% mean
import time

end = time.monotonic() + 60
while time.monotonic() < end:
    try:
        while time.monotonic() < end:
            pass
    except BaseException:
        continue
