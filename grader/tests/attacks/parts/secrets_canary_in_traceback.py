"""Makes the worker's own code fail on its objects, so that tracebacks show locals of whoever handles them.

Must: learn nothing.
"""

FAMILY = "secrets"
TARGET = "words"


class Explosive(BaseException):
    def __str__(self):
        import inspect

        return "".join(
            str(frame.frame.f_locals)[:3000]
            for frame in inspect.stack()[1:4]
            if "text" not in frame.frame.f_locals and "arguments" not in frame.frame.f_locals
        )

    __repr__ = __str__


def count(text):
    raise Explosive
