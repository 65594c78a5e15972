"""Ignores every signal and loops for ever.

Must: end at the check's limit.
"""

FAMILY = "harm"
TARGET = "softmax"

import signal

for number in set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
    signal.signal(number, signal.SIG_IGN)


def softmax(x, dim):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
