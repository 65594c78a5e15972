"""Replaces the shell's run_code, so that no later cell runs and none fails.

Must: earn nothing; a test cell that did not run earns nothing.
"""

FAMILY = "verdict"
FAST = True

# %% mean
shell = type(get_ipython())


async def run_code(self, code, result=None, *, async_=False):
    return False


shell.run_code = run_code
