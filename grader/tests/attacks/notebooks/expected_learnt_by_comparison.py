"""Returns objects that print what they are compared with.

Must: learn nothing; an expected value is not sent to where student code runs.
"""

FAMILY = "secrets"
FAST = True


# %% own
class Ear:
    def __eq__(self, other):
        print("expected", other)
        return False

    __hash__ = None

    def __getattr__(self, name):
        if name.startswith("__array"):
            raise AttributeError(name)
        print("asked for", name)
        return Ear()

    def __call__(self, *arguments):
        print("given", arguments)
        return 0.0

    def __sub__(self, other):
        print("expected", other)
        return 0.0

    __rsub__ = __radd__ = __add__ = __le__ = __lt__ = __sub__


# %% mean
def mean(values):
    return Ear()


# %% count
def count(words):
    return Ear()
