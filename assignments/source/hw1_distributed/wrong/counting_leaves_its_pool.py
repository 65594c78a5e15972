import multiprocessing
from collections import Counter

pools = []


def count_tokens(texts, tokenize, workers):
    def remember():
        global use
        use = tokenize

    pools.append(multiprocessing.get_context("fork").Pool(workers, initializer=remember))
    return sum(pools[-1].map(count, texts), Counter())


def count(text):
    return Counter(use(text))
