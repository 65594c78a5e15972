"""A connection that asks nothing takes no place from one that does."""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_SILENT = 50  # connections that have sent no whole head of a request, or have their answer
PATIENCE = 1.0  # seconds that each of them may take all the same: many come at once when a class pushes
MOST_AHEAD = 1 << 16  # bytes that may come behind a request that waits for its answer


class Connection(H11Protocol):
    """HTTP over one connection. uvicorn waits for a first request as long as it takes, and counts who it waits for.

    Whoever reaches the port, without a token, could so keep the whole class out. Of those that are silent the one
    that has been there longest goes when there are too many: a request comes soon where one is meant.
    It is h11 and no faster parser, for h11 ends a head that is too long.
    """

    _ahead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._since = time.monotonic()
        super().connection_made(transport)
        silent = [one for one in self.connections if isinstance(one, Connection) and one.silent]
        for one in sorted(silent, key=lambda one: one._since)[:-MOST_SILENT]:
            if self._since - one._since > PATIENCE:
                # What was answered still arrives; nobody waits for one who does not read it.
                unread = one.flow.write_paused or one.transport.is_closing()
                one.transport.abort() if unread else one.transport.close()

    def data_received(self, data: bytes) -> None:
        # Ten times a second it is looked whether who asks is still there, and each look lets more be read.
        waits = not self.silent and not self.cycle.more_body
        self._ahead = self._ahead + len(data) if waits else 0
        if self._ahead > MOST_AHEAD:
            self.transport.abort()
            return
        super().data_received(data)

    @property
    def silent(self) -> bool:
        """Whether no request of this connection waits for its answer, or its sender reads none."""
        return self.cycle is None or self.cycle.response_complete or self.flow.write_paused
