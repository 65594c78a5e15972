"""The inference service as a process of its own: the gRPC twin alone, for fronts that hold no model.

    python -m week06_deployment.service.inference --most 16

When it listens it prints a line of JSON with its address.
"""

import argparse
import asyncio
import json

from week06_deployment.service import rpc, worker


def _say(port: int) -> None:
    print(json.dumps({"event": "ready", "address": f"127.0.0.1:{port}"}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m week06_deployment.service.inference", description=__doc__
    )
    parser.add_argument("--address", default="127.0.0.1:0", help="where to listen; port 0 is any free one")
    worker.options(parser)
    given = parser.parse_args()
    asyncio.run(rpc.serve(worker.make_batcher(given, lambda size, seconds: None), given.address, ready=_say))
