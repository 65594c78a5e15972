# replaces: token_counts.py
# method: workers take texts one by one from a shared counter; counts come back through one queue, looked at with a
#   timeout beside the exit codes
import multiprocessing
import queue
from collections import Counter


def work(texts, tokenize, position, results):
    try:
        counts = Counter()
        while True:
            with position.get_lock():
                start = position.value
                position.value += 1
            if start >= len(texts):
                break
            for token in tokenize(texts[start]):
                counts[token] += 1
        results.put(("ok", dict(counts)))
    except Exception as e:
        results.put(("error", f"{type(e).__name__}: {e}"))


def count_tokens(texts, tokenize, workers):
    ctx = multiprocessing.get_context("fork")
    position = ctx.Value("q", 0)
    results = ctx.Queue()
    processes = [ctx.Process(target=work, args=(texts, tokenize, position, results)) for _ in range(workers)]
    for p in processes:
        p.start()
    total = Counter()
    try:
        received = 0
        while received < workers:
            try:
                status, value = results.get(timeout=0.05)
            except queue.Empty:
                dead = [p.exitcode for p in processes if p.exitcode not in (None, 0)]
                if dead:
                    raise RuntimeError(f"a worker died with exit code {dead[0]}") from None
                continue
            if status == "error":
                raise RuntimeError(f"a worker failed: {value}")
            total.update(value)
            received += 1
    finally:
        for p in processes:
            if received < workers:
                p.kill()
            p.join()
    return total
