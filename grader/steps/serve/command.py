"""Listens: what `grader serve` does once it knows the course."""

from __future__ import annotations

import ipaddress
import logging
import socket

import uvicorn

from grader.course import Course, CourseError
from grader.examine.examiner import Examiner
from grader.steps.command import console
from grader.steps.serve.connection import Connection
from grader.steps.serve.service import Service, application

_CONNECTIONS = 200  # at one time


def listen(
    course: Course, key: bytes, *, host: str, port: int, jobs: int, per_hour: int, gpus: bool | None
) -> None:
    """Serve until SIGINT or SIGTERM; raises CourseError where the address cannot be had, SandboxError."""
    try:
        listener = socket.create_server((host, port), family=_family(host))
    except OSError as error:
        raise CourseError(f"{host}, port {port}: {error.strerror}; name others with --host, --port") from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with console.status("Starting the sandbox ..."):
        examiner = Examiner("namespaces")
    with listener, examiner:
        service = Service(course, key, examiner, jobs=jobs, per_hour=per_hour, gpus=gpus)
        told = f"{course.name}: http://{host}:{listener.getsockname()[1]}/submissions/HW"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
        settings = uvicorn.Config(
            application(service),
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=5,
        )
        uvicorn.Server(settings).run(sockets=[listener])


def _family(host: str) -> int:
    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET
