# replaces: token_counts.py
# caught by: counts_equal_those_of_one_process
# mistake: joins each worker before it takes its result, which is larger than the pipe's buffer
import multiprocessing
from collections import Counter


def count_tokens(texts, tokenize, workers):
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        context.Process(target=count, args=(texts[worker::workers], tokenize, pipes[worker][1]), daemon=True)
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum((inbox.recv() for inbox, _ in pipes), Counter())


def count(texts, tokenize, outbox):
    outbox.send(Counter(token for text in texts for token in tokenize(text)))
