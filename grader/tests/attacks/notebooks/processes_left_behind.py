"""Starts processes in sessions of their own that outlive the notebook and write into the home folder.

Must: leave no process and no file behind.
"""

FAMILY = "harm"
FAST = True

# %% own
import os
import tempfile
import time

for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        for place in ("~", ".", "../../..", tempfile.gettempdir()):
            try:
                with open(os.path.join(os.path.expanduser(place), "left-behind.txt"), "w") as file:
                    file.write("still here")
            except OSError:
                continue
        time.sleep(600)
        os._exit(0)
