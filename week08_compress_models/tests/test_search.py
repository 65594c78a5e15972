"""A path that runs other layers than it says, a table that misses a place, a search that judges one twice."""

import numpy as np
import torch

from week08_compress_models import macs, search


def test_a_path_of_the_shared_network_computes_what_a_network_of_its_own_does():
    shared, path = search.Network([range(5)] * 4).eval(), (1, 0, 3, 4)
    own = search.alone(path).eval()
    own.load_state_dict({name: shared.state_dict()[name] for name in own.state_dict()})
    x = torch.rand(3, 1, 8, 8)
    assert torch.allclose(shared.set(path)(x), own(x), atol=1e-6)


def test_the_formula_of_macs_is_the_counter():
    for path in ((0, 0, 0, 0), (1, 2, 3, 4), (4, 4, 4, 4), (3, 0, 2, 1)):
        assert macs.count_macs(search.alone(path), torch.rand(1, 1, 8, 8)) == search.macs(path)


def test_the_table_has_every_entry_and_predicts_a_network_of_one_layer_exactly():
    table, (seconds,) = search.latency_table(batch=2, whole=[(0, 3, 0, 0)], pairs=2)
    assert seconds > 0
    assert len(table) == 1 + 4 * 5
    assert search.predicted((0, 3, 0, 0), table) == table[-1, 0] + table[1, 3]
    assert search.predicted((0, 0, 0, 0), table) == table[-1, 0]


def test_both_searches_make_as_many_different_evaluations_and_never_fall():
    class Noted(dict):
        asked: set

        def __getitem__(self, key):
            self.asked.add(key)
            return super().__getitem__(key)

    for way in (search.random_search, search.evolution):
        for seed in range(5):
            score = Noted({a: float(sum(a)) for a in search.EVERY})
            score.asked = set()
            best = way(score, 50, seed)
            assert len(best) == len(score.asked) == 50
            assert (np.diff(best) >= 0).all()


def test_evolution_finds_the_best_of_a_smooth_score_sooner_than_chance():
    score = {a: float(sum(a)) for a in search.EVERY}
    mean = [
        np.mean([way(score, 60, s)[-1] for s in range(30)])
        for way in (search.evolution, search.random_search)
    ]
    assert mean[0] > mean[1] + 0.5
