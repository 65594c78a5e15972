"""NVIDIA's Triton Inference Server, out of the wheel `nvidia-pytriton`, started without its Python wrapper.

`make .venv-triton/installed` makes an environment of its own for it: the program needs Debian's Python with
`libpython3.11.so`, and its client needs protocol buffers older than 7. The wheel has one backend, for Python.
"""

import contextlib
import os
import platform
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from effdl.services import free_ports
from week07_inference_software import serving

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".venv-triton"
NEEDS = "NVIDIA Triton in .venv-triton"


@dataclass(frozen=True)
class Addresses:
    """Where a server listens: KServe v2 over HTTP and over gRPC, and its metrics."""

    http: str
    grpc: str
    metrics: str


def packages() -> Path:
    """The folder of `.venv-triton` that holds its packages."""
    return ENVIRONMENT / "lib" / "python3.11" / "site-packages"


def installed() -> bool:
    """Whether the server can be started here."""
    program = packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    return sys.platform == "linux" and platform.machine() == "x86_64" and program.exists()


def prepare(folder: Path) -> Path:
    """Links to the Python backend and to the program that runs models in Python 3.11, in one folder as it must be."""
    triton, backend = packages() / "pytriton" / "tritonserver", folder / "python"
    backend.mkdir(parents=True, exist_ok=True)
    files = [
        *(triton / "backends" / "python").iterdir(),
        *(triton / "python_backend_stubs" / "3.11").iterdir(),
    ]
    for file in files:
        if not (backend / file.name).exists():
            (backend / file.name).symlink_to(file)
    return folder


def command(repository: Path, backends: Path, ports: list[int], shared: str) -> list[str]:
    """The command line: addresses on this machine only, models loaded by name, one region of memory of our own."""
    http, grpc, metrics = ports
    return [
        str(packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={shared}",
        "--model-control-mode=explicit",
        "--load-model=*",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        *(f"--{kind}-port={port}" for kind, port in (("http", http), ("grpc", grpc), ("metrics", metrics))),
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=5",
    ]


def environment() -> dict[str, str]:
    """Variables that the server needs: its libraries, and the Python whose packages models import."""
    libraries = [str(packages() / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    path = [str(ENVIRONMENT / "bin"), os.environ.get("PATH", "")]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(word for word in libraries if word),
        "PATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1",
    }


@contextlib.contextmanager
def running(repository: Path) -> Iterator[Addresses]:
    """The server with the models of a repository, for as long as the block lasts.

    Raises `serving.DidNotStart`, with the server's own words, where a model cannot be loaded.
    """
    shared = f"effdl_{os.getpid()}_{uuid.uuid4().hex[:8]}_"
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(3):
            ports = free_ports(3)
            line = command(repository, prepare(Path(folder)), ports, shared)
            where = Addresses(
                *(f"{kind}://127.0.0.1:{p}" for kind, p in zip(("http", "grpc", "http"), ports, strict=True))
            )
            try:
                with serving.running(line, f"{where.http}/v2/health/ready", environment()):
                    yield where
                return
            except serving.DidNotStart as error:  # another program may have taken a port meanwhile
                if attempt == 2 or "already in use" not in str(error).lower():
                    raise
            finally:
                for left in Path("/dev/shm").glob(f"{shared}*"):
                    left.unlink(missing_ok=True)
