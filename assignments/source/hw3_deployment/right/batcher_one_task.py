# replaces: batcher.py
# method: one task that makes every batch, woken by an event with a time limit
import asyncio
import contextlib
from collections import deque


class Full(Exception):
    pass


class Closed(Exception):
    pass


class Batcher:
    def __init__(self, model, max_batch, max_wait, max_queue):
        self.model = model
        self.max_batch, self.max_wait, self.max_queue = max_batch, max_wait, max_queue
        self.line = deque()
        self.news = asyncio.Event()
        self.worker = None
        self.closing = False

    async def predict(self, item):
        self.line = deque(entry for entry in self.line if not entry[2].cancelled())
        if self.closing:
            raise Closed("closed")
        if len(self.line) >= self.max_queue:
            raise Full("full")
        loop = asyncio.get_running_loop()
        if self.worker is None:
            self.worker = loop.create_task(self.work())
        answer = loop.create_future()
        self.line.append((loop.time(), item, answer))
        self.news.set()
        return await answer

    async def close(self):
        self.closing = True
        self.news.set()
        if self.worker is not None:
            await self.worker

    async def work(self):
        loop = asyncio.get_running_loop()
        while True:
            self.news.clear()
            while self.line and self.line[0][2].cancelled():
                self.line.popleft()
            if not self.line:
                if self.closing:
                    return
                await self.news.wait()
                continue
            left = self.line[0][0] + self.max_wait - loop.time()
            if len(self.line) < self.max_batch and left > 1e-9 and not self.closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), left)
                continue
            batch = []
            while self.line and len(batch) < self.max_batch:
                entry = self.line.popleft()
                if not entry[2].cancelled():
                    batch.append(entry)
            try:
                values = await self.model([item for _, item, _ in batch])
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.cancelled():
                        answer.set_exception(error)
                continue
            for (_, _, answer), value in zip(batch, values, strict=True):
                if not answer.cancelled():
                    answer.set_result(value)
