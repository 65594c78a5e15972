"""Tokens, vocabulary and co-occurrence: by hand on small texts, in parallel equal to alone."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week02_distributed import cooccurrence as co

WORDS = {"a": 0, "b": 1, "c": 2}
texts = st.lists(st.lists(st.sampled_from(["a", "b", "c", "rare"]), max_size=12).map(" ".join), max_size=6)


def brute_force(corpus, words, window):
    matrix = np.zeros((len(words), len(words)))
    for text in corpus:
        tokens = text.split()
        for i, left in enumerate(tokens):
            for j, right in enumerate(tokens):
                if 0 < abs(i - j) <= window and left in words and right in words:
                    matrix[words[left], words[right]] += 1 / abs(i - j)
    return matrix


@settings(deadline=None)
@given(corpus=texts, window=st.integers(1, 6))
def test_matrix_is_the_sum_over_all_pairs_of_one_over_distance(corpus, window):
    found = co.cooccurrence(corpus, WORDS, window).toarray()
    np.testing.assert_allclose(found, brute_force(corpus, WORDS, window), rtol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_no_pair_spans_two_texts():
    assert co.cooccurrence(["a", "b"], WORDS).nnz == 0


def test_tokens_are_lower_case_words_without_numbers():
    assert co.tokens("Don't sum 3 Rows, x_1!") == ["don't", "sum", "rows", "x"]


def test_ties_in_the_vocabulary_do_not_depend_on_the_order_of_the_texts():
    assert list(co.vocabulary(Counter("banana"), 2)) == ["a", "n"]
    assert list(co.vocabulary(Counter(["z", "y", "x"]), 2)) == ["x", "y"]


def test_parallel_counting_equals_counting_alone():
    corpus = [f"a b {'c ' * (n % 4)}" for n in range(23)]
    assert co.parallel_count_tokens(corpus, 3) == co.count_tokens(corpus)
    alone, together = co.cooccurrence(corpus, WORDS), co.parallel_cooccurrence(corpus, WORDS, 3)
    np.testing.assert_allclose(together.toarray(), alone.toarray(), rtol=1e-5)


@given(count=st.integers(0, 30), parts=st.integers(1, 8))
def test_shards_hold_every_text_once(count, parts):
    shards = co.shards([str(n) for n in range(count)], parts)
    assert sorted(text for shard in shards for text in shard) == sorted(str(n) for n in range(count))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = ["", " = Valkyria = \n", "", " Senjō no Valkyria 3 : a tactical role @-@ playing game . \n"] * 500


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """WikiText as its repository on the Hub is laid out, in a folder; `datasets` reads it as it reads a download."""
    import datasets

    lines = ["---", "configs:"]
    for part in ("wikitext-2-raw-v1", "wikitext-103-raw-v1"):
        (tmp_path / part).mkdir()
        table = pyarrow.table({"text": [f"{part} {row}" if row.strip() else row for row in ROWS]})
        pyarrow.parquet.write_table(table, tmp_path / part / "train-00000-of-00001.parquet")
        lines += [f"- config_name: {part}", "  data_files:", "  - split: train", f"    path: {part}/train-*"]
    (tmp_path / "README.md").write_text("\n".join([*lines, "---", ""]))
    load = datasets.load_dataset

    def from_folder(name, config, split):
        assert name == "Salesforce/wikitext"
        return load(str(tmp_path), config, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    monkeypatch.setattr(co.data, "_hub_answers", lambda: True)


def test_wikitext_comes_in_paragraphs_and_stops_at_the_limit(hub):
    texts = co.corpus("wikitext", 0.01)
    assert co.tokens(texts[1])[-4:] == ["tactical", "role", "playing", "game"]
    assert all(text.strip() and text.startswith("wikitext-2-raw-v1") for text in texts)
    assert 10_000 <= sum(map(len, texts)) < 10_000 + len(texts[1])
    assert len(co.corpus("wikitext", 10)) == 1000


def test_a_larger_piece_of_wikitext_comes_from_its_larger_part(hub):
    assert co.corpus("wikitext", 10.5)[0].startswith("wikitext-103-raw-v1")


def test_an_unreachable_hub_costs_seconds_and_one_sentence(tmp_path):
    """With the real libraries, in a fresh process that has downloaded nothing and finds a closed port."""
    # Neither this machine's downloads nor its proxy.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    environment |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    command = [
        sys.executable,
        "-c",
        "from week02_distributed.cooccurrence import corpus; corpus('wikitext', 1)",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        'ConnectionError: "Salesforce/wikitext" is not on this machine and http://127.0.0.1:9 did not answer: '
        'connect once, and it is kept for later; or take the corpus "docstrings"'
    )
    assert done.stderr.count("Traceback") == 1
