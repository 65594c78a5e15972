"""Functions of a notebook as parts of a server in another process.

A function of a notebook has no module that another process could import. Its code object can be sent, as bytes
(`marshal`), to a process of the same Python, which gives it the names that it may use: those of `NAMES`. So what you
write in a cell meets real sockets, real signals and a real event loop.

    python -m week06_deployment.handed --workers 1 --stub 0.01      # the parts come through the environment
"""

import argparse
import asyncio
import base64
import io
import json
import marshal
import math
import os
import socket
import sys
import time
import types
from collections.abc import Callable

import numpy as np
from PIL import Image

from week06_deployment.service import master, worker
from week06_deployment.service.app import create_app
from week06_deployment.service.batcher import Batcher, Stub
from week06_deployment.service.metrics import Metrics
from week06_deployment.service.pictures import Refused

VARIABLE = "DIGITS_PARTS"
NAMES = {
    "asyncio": asyncio,
    "io": io,
    "math": math,
    "time": time,
    "np": np,
    "Image": Image,
    "Refused": Refused,
}
"""What a part may use besides Python's own names."""


def pack(**parts: Callable) -> str:
    """Functions as text for the environment of a server.

    Raises NotImplementedError for a part that is not written yet, and ValueError for one that uses what is not there.
    """
    packed = {}
    for name, function in parts.items():
        code = function.__code__
        if "NotImplementedError" in code.co_names and len(code.co_names) == 1:
            raise NotImplementedError
        if code.co_freevars:
            raise ValueError(
                f"{function.__name__} uses {', '.join(code.co_freevars)} of the function around it"
            )
        packed[name] = base64.b64encode(marshal.dumps([code, function.__defaults__])).decode()
    return json.dumps(packed)


def unpack(text: str) -> dict[str, Callable]:
    """The functions of `pack`, able to use `NAMES`."""
    parts = {}
    for name, data in json.loads(text or "{}").items():
        code, defaults = marshal.loads(base64.b64decode(data))
        parts[name] = types.FunctionType(code, {**NAMES, "__builtins__": __builtins__}, name, defaults)
    return parts


def main() -> None:
    """Serve with the parts of the environment: `decode`, `collect`, `admit`, `drain`; with `roll`, the master's."""
    parts = unpack(os.environ.get(VARIABLE, ""))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    worker.options(parser)
    given = parser.parse_args()
    options = [f"--{name}={value}" for name, value in vars(given).items() if value is not None]
    if "roll" in parts:
        master.serve("127.0.0.1", 0, 2, options, parts["roll"])
        return
    # By its number, so that Python asks the kernel for the protocol: asyncio sets TCP_NODELAY for TCP only.
    listener = socket.socket(fileno=socket.create_server(("127.0.0.1", 0), backlog=1024).detach())
    listener.setblocking(False)
    metrics = Metrics()
    chosen = {name: parts[name] for name in ("collect", "admit") if name in parts}
    batcher = Batcher(Stub(given.stub), given.most, given.wait, given.limit, seen=metrics.batch, **chosen)
    app = create_app(batcher, metrics, **{name: parts[name] for name in ("decode",) if name in parts})
    address = "http://{}:{}".format(*listener.getsockname())
    asyncio.run(
        worker.serve(
            app,
            listener,
            given.linger,
            given.patience,
            parts.get("drain", worker.drain),
            lambda: print(address, flush=True),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
