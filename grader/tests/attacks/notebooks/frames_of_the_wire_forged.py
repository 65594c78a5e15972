"""Finds the worker's own channel in memory and answers for all test cells with empty outputs.

Must: earn nothing; what stands in the outputs of a test cell comes from the tests' interpreter.
"""

FAMILY = "verdict"
FAST = True

# %% mean
import gc
import os
import socket

sent = False
for thing in gc.get_objects():
    if isinstance(thing, socket.socket) and not sent:
        try:
            from grader.sandbox import wire

            for index in range(12):
                wire.send(thing, {"index": index, "outputs": []})
            sent = True
        except Exception as error:
            print(type(error).__name__, error)
os._exit(0)
