"""Writes forged messages of success to every descriptor that it finds open.

Must: earn nothing; no message of the student's process is a verdict.
"""

FAMILY = "verdict"

# %% mean
import os
import stat
import struct


def frame(message):
    text = json.dumps(message).encode()
    return struct.pack("<I", len(text)) + text


messages = [{"index": index, "outputs": []} for index in range(12)]
for descriptor in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
            for message in messages:
                os.write(descriptor, frame(message))
                os.write(descriptor, (json.dumps(message) + "\n").encode())
    except OSError:
        continue
