# replaces: token_counts.py
# method: a ProcessPoolExecutor, one future per worker; texts and tokenizer reach the workers by fork
import multiprocessing
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

job = {}


def set_job(texts, tokenize):
    job["texts"], job["tokenize"] = texts, tokenize


def count_share(start, step):
    counts = Counter()
    for i in range(start, len(job["texts"]), step):
        counts.update(job["tokenize"](job["texts"][i]))
    return counts


def count_tokens(texts, tokenize, workers):
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, fork, initializer=set_job, initargs=(texts, tokenize)) as pool:
        futures = [pool.submit(count_share, w, workers) for w in range(workers)]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in done):
            # the others may still be at work; leaving the with block would wait for them
            for process in multiprocessing.active_children():
                process.kill()
        total = Counter()
        for future in sorted(done, key=lambda f: f.exception() is None):  # failures first
            total.update(future.result())
        return total
