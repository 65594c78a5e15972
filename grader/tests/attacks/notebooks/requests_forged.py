"""Asks the tests' side for what it may not have: callables by wrong numbers, handles and exceptions that are none.

Must: earn nothing; each is the end of the student's process for the tests, in a sentence.
"""

FAMILY = "verdict"
FAST = True

# %% mean
import gc

try:
    from grader.sandbox import wire
    from grader.notebooks.twin.student import Student
except ImportError:
    wire = None

TURN = iter(
    [
        {"op": "cb", "id": 10**9, "a": [], "k": {}, "out": []},
        {"op": "exc", "mro": [["AssertionError"]], "text": 5, "out": [], "args": None},
        {"op": "exc", "mro": [], "text": "", "out": None},
        {"op": "cell", "source": "1"},
    ]
)


def forge(values):
    for peer in gc.get_objects() if wire else ():
        if isinstance(peer, Student):
            peer.sock.sendall(wire.pack(next(TURN), []))
    return -1.0


mean = forge

# %% count
count = forge
