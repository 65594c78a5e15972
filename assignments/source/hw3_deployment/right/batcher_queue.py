# replaces: batcher.py
# method: an asyncio.Queue, and deadlines that its entries bring along; a mark in the queue says that it ends
import asyncio


class Full(Exception):
    pass


class Closed(Exception):
    pass


END = object()


class Batcher:
    def __init__(self, model, max_batch, max_wait, max_queue):
        self.model, self.max_batch, self.max_wait, self.max_queue = model, max_batch, max_wait, max_queue
        self.queue = asyncio.Queue()
        self.waiting = 0
        self.task = None
        self.closed = False

    async def predict(self, item):
        if self.closed:
            raise Closed
        if self.waiting >= self.max_queue:
            raise Full
        self.start()
        future = asyncio.get_running_loop().create_future()
        self.waiting += 1
        self.queue.put_nowait((item, future, asyncio.get_running_loop().time() + self.max_wait))
        return await future

    def start(self):
        if self.task is None:
            self.task = asyncio.create_task(self.run())

    async def close(self):
        if not self.closed:
            self.closed = True
            self.start()
            self.queue.put_nowait(END)
        await self.task

    async def gather(self):
        first = await self.queue.get()
        if first is END:
            return [], True
        batch = [first]
        while sum(not one[1].done() for one in batch) < self.max_batch:
            if self.queue.empty():
                left = first[2] - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                try:
                    one = await asyncio.wait_for(self.queue.get(), left)
                except TimeoutError:
                    break
            else:
                one = self.queue.get_nowait()
            if one is END:
                return batch, True
            batch.append(one)
        return batch, False

    async def run(self):
        ended = False
        while not ended:
            batch, ended = await self.gather()
            self.waiting -= len(batch)
            batch = [one for one in batch if not one[1].done()]
            if not batch:
                continue
            try:
                values = list(await self.model([item for item, _, _ in batch]))
            except Exception as error:
                values = [error] * len(batch)
            for (_, future, _), value in zip(batch, values, strict=True):
                if future.done():
                    continue
                if isinstance(value, Exception):
                    future.set_exception(value)
                else:
                    future.set_result(value)
