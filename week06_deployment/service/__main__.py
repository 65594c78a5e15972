"""`python -m week06_deployment.service`: the whole service, its master and its workers."""

import argparse

from week06_deployment.service import master, worker


def main() -> None:
    """Read the options, then serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m week06_deployment.service",
        description="Serve the digits model. SIGHUP replaces the workers one by one, SIGTERM drains them.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port; 0, the default, is any free one")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (1)")
    worker.options(parser)
    given = vars(parser.parse_args())
    host, port, workers = (given.pop(name) for name in ("host", "port", "workers"))
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    master.serve(host, port, workers, options)


if __name__ == "__main__":
    main()
