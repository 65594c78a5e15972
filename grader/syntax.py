"""Reading Python in a process of several threads, where Python itself does not do it right.

Before Python 3.11.8 and 3.12.2 all threads count the depth of their syntax trees in one place, so that one that is
interrupted by another ends in "SystemError: AST constructor recursion depth mismatch" (python/cpython#106905). The
grader reads checks in one thread while another imports matplotlib or torch, which read Python, too.
"""

import ast
import functools
import sys
import threading

# By one thread twice: what the collector frees in the middle may read Python as well.
_reading = threading.RLock()


def read_one_at_a_time() -> None:
    """Let `ast.parse` of this process read for one thread at a time, where the depth would be lost otherwise."""
    if sys.version_info >= (3, 12, 2) or (3, 11, 8) <= sys.version_info < (3, 12):
        return
    parse = ast.parse

    @functools.wraps(parse)
    def locked(*args, **options):
        with _reading:
            return parse(*args, **options)

    ast.parse = locked
