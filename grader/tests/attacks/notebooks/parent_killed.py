"""Kills its parent process and everything in its group.

Must: harm nobody; the class is graded to its end.
"""

FAMILY = "harm"
FAST = True

# %% mean
import os
import signal

os.kill(os.getppid(), signal.SIGKILL)
