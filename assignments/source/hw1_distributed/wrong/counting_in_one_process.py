# replaces: token_counts.py
# caught by: counting_uses_processes
# mistake: does all the work itself
from collections import Counter


def count_tokens(texts, tokenize, workers):
    return Counter(token for text in texts for token in tokenize(text))
