# replaces: token_counts.py
# caught by: counting_uses_processes
# mistake: uses threads, of which only one runs Python code at a time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor


def count_tokens(texts, tokenize, workers):
    with ThreadPoolExecutor(workers) as pool:
        return sum((Counter(tokens) for tokens in pool.map(tokenize, texts)), Counter())
