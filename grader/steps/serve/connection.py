"""A connection that asks nothing takes no place from one that does."""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_SILENT = 50  # connections that have sent no whole head of a request, or have their answer
PATIENCE = 1.0  # seconds that each of them may take all the same: many come at once when a class pushes


class Connection(H11Protocol):
    """HTTP over one connection. uvicorn waits for a first request as long as it takes, and counts who it waits for.

    Whoever reaches the port, without a token, could so keep the whole class out. Of those that are silent the one
    that has been there longest goes when there are too many: a request comes soon where one is meant.
    It is h11 and no faster parser, for h11 ends a head that is too long.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._since = time.monotonic()
        super().connection_made(transport)
        silent = [one for one in self.connections if isinstance(one, Connection) and one.silent]
        for one in sorted(silent, key=lambda one: one._since)[:-MOST_SILENT]:
            if self._since - one._since > PATIENCE:
                one.transport.close()  # what was answered still arrives

    @property
    def silent(self) -> bool:
        """Whether no request of this connection waits for its answer."""
        return self.cycle is None or self.cycle.response_complete
