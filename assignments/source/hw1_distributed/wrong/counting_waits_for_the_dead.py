# replaces: token_counts.py
# caught by: a_failing_tokenizer_comes_out
# mistake: waits for a result of every worker, also of one that was killed
import multiprocessing
from collections import Counter


def count_tokens(texts, tokenize, workers):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=count, args=(texts[worker::workers], tokenize, results), daemon=True)
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    counts = [results.get() for _ in processes]
    for process in processes:
        process.join()
    for one in counts:
        if isinstance(one, str):
            raise RuntimeError(one)
    return sum(counts, Counter())


def count(texts, tokenize, results):
    try:
        results.put(Counter(token for text in texts for token in tokenize(text)))
    except Exception as error:
        results.put(str(error))
