"""Looks among its globals for what a test has bound there before it calls, and returns that.

Must: earn nothing; of a test's names only those that the course's own answer reads are told.
"""

FAMILY = "verdict"
FAST = True


# %% count
def count(words):
    print({name: value for name, value in globals().items() if not name.startswith("_")})
    return globals().get("wanted")
