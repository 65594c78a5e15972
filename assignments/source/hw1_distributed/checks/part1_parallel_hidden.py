"""The reference for the speed of counting: two processes, pipes, nothing clever."""

import multiprocessing
import re
from collections import Counter

_WORDS = re.compile(r"[a-z]+")


def count(texts, workers):
    """Return how often each lower-case word occurs, as `count` of the driver does."""
    context, inboxes, processes = multiprocessing.get_context("fork"), [], []
    for worker in range(workers):
        inbox, outbox = context.Pipe(duplex=False)
        processes.append(context.Process(target=_count, args=(texts[worker::workers], outbox)))
        processes[-1].start()
        outbox.close()
        inboxes.append(inbox)
    total = Counter()
    for inbox in inboxes:
        total.update(inbox.recv())
    for process in processes:
        process.join()
    return {token: int(number) for token, number in total.items()}


def _count(texts, outbox):
    counts = Counter()
    for text in texts:
        counts.update(_WORDS.findall(text.lower()))
    outbox.send(counts)
