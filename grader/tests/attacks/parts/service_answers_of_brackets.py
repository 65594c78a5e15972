"""Answers with JSON that is small on the wire and large in memory, and nested as deep as it goes.

Must: earn nothing, and cost the examiner no memory.
"""

FAMILY = "service"
FAST = False
TARGET = "service"
HONEST = True
DESERVES = 0
GROWS = 300

import itertools

import honest

BODIES = itertools.cycle(
    ["[" * 1_000_000, "[{}" + ",{}" * 4_000_000 + "]", "1" * 1_000_000, '{"sum": 1e999}']
)


class Handler(honest.Handler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(next(BODIES))


def serve(port, model):
    honest.Handler = Handler
    honest.serve(port, model)
