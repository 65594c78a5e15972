# replaces: token_counts.py
# method: each worker leaves its counts in a file, and the caller reads it when the worker has ended well
import json
import multiprocessing
import tempfile
from collections import Counter, defaultdict
from multiprocessing.connection import wait
from pathlib import Path


def _worker(texts, tokenize, path):
    counts = defaultdict(int)
    answer = {}
    try:
        for text in texts:
            for token in tokenize(text):
                counts[token] += 1
        answer["counts"] = counts
    except BaseException as error:
        answer["error"] = repr(error)
    path.write_text(json.dumps(answer))


def count_tokens(texts, tokenize, workers):
    context = multiprocessing.get_context("fork")
    total = Counter()
    with tempfile.TemporaryDirectory() as folder:
        running = {}
        for w in range(workers):
            path = Path(folder) / f"{w}.json"
            # consecutive texts
            share = texts[w * len(texts) // workers : (w + 1) * len(texts) // workers]
            process = context.Process(target=_worker, args=(share, tokenize, path))
            process.start()
            running[process.sentinel] = process, path
        try:
            while running:
                for sentinel in wait(list(running)):
                    process, path = running.pop(sentinel)
                    process.join()
                    if process.exitcode != 0:
                        raise RuntimeError(f"worker {process.pid} died: {process.exitcode}")
                    answer = json.loads(path.read_text())
                    if "error" in answer:
                        raise RuntimeError("worker failed: " + answer["error"])
                    for token, count in answer["counts"].items():
                        total[token] += count
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.join()
    return total
