"""The peer gets the same weights and writes the same tokens; its thread ends with its context."""

import threading

import pytest

pytest.importorskip("transformers", reason="requirements-week07.txt is not installed")

from week07_inference_software import loads, peer
from week07_inference_software.engine import Config, Engine, Llama
from week07_inference_software.engine.model import random_weights

CONFIG = Config(vocabulary=64, width=32, layers=2, heads=4, groups=2, inner=32)


@pytest.fixture(scope="module")
def both():
    weights = random_weights(CONFIG)
    return Llama(CONFIG, weights), peer.load(CONFIG, weights)


@pytest.mark.drawn(4)
def test_every_way_of_the_peer_writes_the_tokens_of_our_engine(both):
    ours, judge = both
    requests = loads.mixed(6, 8, 16, CONFIG.vocabulary)
    wanted = Engine(ours).run(requests).answers
    assert peer.one_by_one(judge, requests) == wanted
    assert peer.static(judge, requests, 4) == wanted
    with peer.Continuous(judge, most=4, budget=64, blocks=64) as continuous:
        assert continuous.answers(requests) == wanted
        assert continuous.answers(requests[::-1]) == wanted[::-1]


def test_no_thread_of_the_peer_is_left_where_the_block_fails(both):
    before = set(threading.enumerate())
    with pytest.raises(KeyError), peer.Continuous(both[1], most=4, budget=64, blocks=64):
        raise KeyError
    assert not {t for t in threading.enumerate() if t.is_alive()} - before
