"""A service that does the least, with which a submission's is compared. Never released."""

import asyncio
import json
import signal


class Plain:
    """Requests of one connection at a time, batches as soon as the model is free."""

    def __init__(self, model, max_batch):
        self.model, self.max_batch = model, max_batch
        self.waiting, self.news = [], asyncio.Event()

    async def work(self):
        while True:
            await self.news.wait()
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            if not self.waiting:
                self.news.clear()
            names = await asyncio.to_thread(self.model, [image for image, _ in batch])
            for (_, answer), one in zip(batch, names, strict=True):
                answer.set_result(one)

    async def connection(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"{}"
        if head.startswith(b"POST"):
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = asyncio.get_running_loop().create_future()
            self.waiting.append((json.loads(await reader.readexactly(length))["image"], answer))
            self.news.set()
            body = json.dumps({"objects": await answer}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


def serve(model, port, max_batch, max_wait, max_queue):
    """Serve as `service.serve` does."""

    async def run():
        plain = Plain(model, max_batch)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with await asyncio.start_server(plain.connection, "127.0.0.1", port, backlog=1024):
            work = asyncio.create_task(plain.work())
            await ended.wait()
            work.cancel()

    asyncio.run(run())
