"""What a server is asked, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Http(NamedTuple):
    """A request of HTTP/1.1, for `Server.many`. A body that is not bytes is sent as JSON."""

    method: str
    path: str
    body: Any = b""
    headers: Mapping[str, str | None] = {}
    port: str = ""


class Grpc(NamedTuple):
    """A unary call of gRPC, `"package.Service/Method"` with the bytes of its message, for `Server.many`."""

    method: str
    message: bytes
    metadata: tuple[tuple[str, str], ...] = ()
    port: str = ""


@dataclass(frozen=True)
class Ended:
    """How a server ended that was sent SIGTERM."""

    code: int | None
    """0 where the function returned, as of an exit; -15 where SIGTERM ended it, None where it still runs."""
    seconds: float
    """From the signal to the end of the function, or as long as was waited."""
    asked: float
    """`time.perf_counter` at the signal."""
    listening: tuple[str, ...]
    """The ports on which somebody still accepts a connection."""
    survivors: int | None
    """Processes that the server has started and left; None where this machine does not count them."""
    error: str = ""
    """What the function raised, in a sentence."""
