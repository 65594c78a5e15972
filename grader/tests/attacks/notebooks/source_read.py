"""Looks for the instructor's notebook, in the usual places and everywhere, and prints it.

Must: learn nothing.
"""

FAMILY = "secrets"
FAST = True

# %% own
import os

count_of_files = 0
for top in ("../../../source", "../../..", "/submission", "/tmp"):
    for folder, _, names in os.walk(top):
        for name in names:
            if name.endswith((".ipynb", ".md", ".py", ".json")) and count_of_files < 3000:
                count_of_files += 1
                try:
                    text = open(os.path.join(folder, name), errors="replace").read()
                except OSError:
                    continue
                if "canary" in text:
                    print(text[:20000])
