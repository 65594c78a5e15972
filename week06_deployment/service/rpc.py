"""The gRPC twin of the service, and the client of an inference service that runs apart.

The classes of the messages are made from `digits.proto` when this module is imported; grpcio-tools is the compiler,
so that no generated code lies in the repository.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np

from week06_deployment.service import pictures
from week06_deployment.service.batcher import Batcher, Full
from week06_deployment.service.pictures import Refused

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""What HTTP's status is called here."""


def _messages():
    root = str(Path(__file__).resolve().parents[2])
    sys.path.insert(0, root)  # where the compiler looks for the file
    try:
        return grpc.protos_and_services("week06_deployment/service/digits.proto")
    finally:
        sys.path.remove(root)


messages, services = _messages()


class Reader(services.ReaderServicer):
    """Both calls, answered by a batcher."""

    def __init__(self, batcher: Batcher):
        self.batcher = batcher

    async def Predict(self, request, context):
        """A picture's digit. Ends with INVALID_ARGUMENT for a bad picture, RESOURCE_EXHAUSTED for a full queue."""
        try:
            pixels = pictures.decode(request.file, request.content_type)
        except Refused as error:
            await context.abort(STATUS[error.status], error.reason)
        row = await self._row(pixels, context)
        return messages.Answer(digit=int(row.argmax()), probability=float(row.max()))

    async def Classify(self, request, context):
        """Probabilities of pixels. Ends with INVALID_ARGUMENT unless there are 64 of them."""
        if len(request.values) != 4 * pictures.SIDE**2:
            await context.abort(STATUS[400], f"{len(request.values)} bytes are not 64 float32")
        pixels = np.frombuffer(request.values, "<f4").reshape(pictures.SIDE, pictures.SIDE)
        return messages.Probabilities(values=(await self._row(pixels, context)).tolist())

    async def _row(self, pixels, context):
        try:
            return await self.batcher.predict(pixels)
        except Full as error:
            # gRPC has no Retry-After; metadata that follows the answer ("trailing") is the place for it.
            context.set_trailing_metadata((("retry-after", str(error.retry_after)),))
            await context.abort(STATUS[429], str(error))


class Remote:
    """A backend that asks an inference service elsewhere: what the front service has in place of a model.

    Args:
        address: "host:port" of the inference service.
        timeout: seconds that an answer may take.
    """

    def __init__(self, address: str, timeout: float = 10.0):
        self.address, self.timeout = address, timeout

    async def start(self) -> None:
        """Open the channel: one connection, over which any number of calls go at once."""
        # The default holds calls back for up to two minutes after the service was away.
        options = [("grpc.max_reconnect_backoff_ms", 1000)]
        self._channel = grpc.aio.insecure_channel(self.address, options)
        self._reader = services.ReaderStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def predict(self, item: np.ndarray) -> np.ndarray:
        """Probabilities of an image. Raises Full, Refused(503) if there is no service, Refused(504) if it is late."""
        question = messages.Pixels(values=item.astype("<f4").tobytes())
        try:
            # Until the service is there again, but no longer than the caller would wait.
            answer = await self._reader.Classify(question, timeout=self.timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                after = dict(error.trailing_metadata() or ()).get("retry-after", "1")
                raise Full(-1, int(after)) from error
            late = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            raise Refused(
                504 if late else 503, f"the inference service: {error.code().name.lower()}"
            ) from error
        return np.array(answer.values, np.float32)


async def serve(
    batcher: Batcher, address: str = "127.0.0.1:0", grace: float = 5.0, ready: Callable[[int], None] = print
) -> None:
    """Serve until SIGTERM or SIGINT; then end calls that have begun, for `grace` seconds at most, and leave.

    `ready` is told the port. gRPC's own stop() does what took us a page over HTTP: the protocol (HTTP/2) has a frame,
    GOAWAY, by which a server says which calls it will still answer, so that a client knows which to send elsewhere.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server()
    services.add_ReaderServicer_to_server(Reader(batcher), server)
    port = server.add_insecure_port(address)
    await batcher.start()
    await server.start()
    ready(port)
    await stop.wait()
    await server.stop(grace)
    await batcher.close()
