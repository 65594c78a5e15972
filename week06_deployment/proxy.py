"""nginx in front of servers on this machine, as an ordinary process with a configuration of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from effdl.processes import end
from week06_deployment.setups import status, until

CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
worker_processes 1;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream service {{
    {servers}
    keepalive 32;                      # connections to the workers that are used again
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 1m;           # 413 before a worker sees anything
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";  # without it nginx asks for a new connection each time
      proxy_next_upstream {retry};
    }}
  }}
}}
"""


def found() -> str | None:
    """Where nginx is, or None."""
    return shutil.which("nginx") or next(
        (path for path in ("/usr/sbin/nginx",) if os.path.exists(path)), None
    )


@contextlib.contextmanager
def nginx(servers: Sequence[str], retry: str = "error timeout", ready: str = "/healthz") -> Iterator[str]:
    """nginx in front of these addresses ("http://127.0.0.1:8001"), which take turns; gives its own address.

    Args:
        servers: where the requests go.
        retry: in which cases the next server is tried: what follows `proxy_next_upstream`.
        ready: a path that one of the servers answers.
    """
    program = found()
    if program is None:
        raise FileNotFoundError("nginx is not installed")
    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder, listener:
        lines = [f"server {address.removeprefix('http://')} max_fails=0;" for address in servers]
        text = CONFIGURATION.format(
            folder=folder,
            port=port,
            retry=retry,
            servers="\n    ".join(lines),
            user="user root;" if os.getuid() == 0 else "",
        )
        Path(folder, "nginx.conf").write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            [program, "-p", folder, "-c", f"{folder}/nginx.conf"],
            # The socket whose port the kernel chose: nginx inherits it as from a predecessor of its own.
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or status(address, ready) == 200)
            if process.poll() is not None:
                raise RuntimeError(f"nginx did not start: {process.stderr.read()}")
            yield address
        finally:
            end(process)
