"""Run a command for as long as this program's input is open; then end it, with everything that it has started.

    python leash.py COMMAND...

A notebook's kernel may die in any cell, and a server that it started would go on. The end of a pipe is the one
message that a dead process still sends.
"""

import os
import subprocess
import sys
import threading

from effdl.processes import end

PATIENCE = 15.0  # seconds from SIGTERM to SIGKILL


def main() -> int:
    """Run the command of the command line. Its status, or 0 where the input ended first."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ended = threading.Event()

    def watch():
        while os.read(0, 4096):  # not through sys.stdin, whose lock would stop this program's own end
            pass
        if not ended.is_set():
            end(process, PATIENCE)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    status = process.wait()
    if status < 0:  # by our own signal: let the rest of the family go as well
        watcher.join(2 * PATIENCE)
    ended.set()
    return max(status, 0)


if __name__ == "__main__":
    sys.exit(main())
