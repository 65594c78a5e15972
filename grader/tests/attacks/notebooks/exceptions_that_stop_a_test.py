"""Raises what ends a process, a loop or an interpreter, by name and by class, in place of an answer.

Must: earn nothing; whatever a call raises, the test around it has failed.
"""

FAMILY = "verdict"
FAST = True


# %% mean
class Refused(BaseException):
    pass


class CannotCross(SystemExit):
    pass


KINDS = iter(
    [SystemExit(0), CannotCross(0), GeneratorExit(), Refused("x"), StopIteration(), KeyboardInterrupt()]
)


def mean(values):
    raise next(KINDS, SystemExit(0))


# %% count
def count(words):
    raise StopIteration({"a": 2, "b": 1})
