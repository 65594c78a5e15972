"""What `make services` starts of this week: NVIDIA Triton, our server around OpenVINO, and the page."""

from functools import partial
from pathlib import Path

from effdl.services import Service, free_ports
from week07_inference_software import nvidia_triton, openvino_server, repository, serving, web


def services(folder: Path) -> list[Service]:
    """The services of week 7, in the order in which they start.

    Args:
        folder: an empty folder for their models.
    """
    models, backends = folder / "repository", folder / "backends"
    for name, delay in (("digits", None), ("digits-joined", 2000)):
        repository.write(models, name, repository.config(name, 16, delay))
    http, grpc, metrics, own_http, own_grpc, page = free_ports(6)
    ports, triton = [http, grpc, metrics], nvidia_triton.installed()
    line = nvidia_triton.command(
        models, nvidia_triton.prepare(backends) if triton else backends, ports, f"effdl_services_{http}_"
    )
    return [
        Service(
            "nvidia triton",
            line,
            f"http://127.0.0.1:{http}/v2/models/digits grpc://127.0.0.1:{grpc} http://127.0.0.1:{metrics}/metrics",
            partial(serving.answers, f"http://127.0.0.1:{http}/v2/health/ready"),
            nvidia_triton.environment(),
            "" if triton else "make .venv-triton/installed (Linux, with Debian's Python 3.11)",
        ),
        Service(
            "openvino",
            openvino_server.command(models, own_http, own_grpc),
            f"http://127.0.0.1:{own_http}/v2/models/digits grpc://127.0.0.1:{own_grpc}",
            partial(serving.answers, f"http://127.0.0.1:{own_http}/v2/health/ready"),
        ),
        Service(
            "digits in the browser",
            web.command(page),
            f"http://127.0.0.1:{page}/",
            partial(serving.answers, f"http://127.0.0.1:{page}/"),
            missing=""
            if web.packages_installed()
            else "make week07_inference_software/browser/installed (npm)",
        ),
    ]
