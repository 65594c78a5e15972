"""Temperature, top-k and top-p keep the tokens that they should, and draws follow the probabilities."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from week07_inference_software.engine import Sampling
from week07_inference_software.engine.sampling import draw, probabilities, uniform

LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0, 2.0])


def test_temperature_divides_the_logits():
    expected = torch.softmax(LOGITS.double() / 0.5, 0).numpy()
    np.testing.assert_allclose(probabilities(LOGITS, Sampling(temperature=0.5)), expected)


def test_top_k_keeps_exactly_k_and_ties_go_to_the_lower_token():
    kept = probabilities(LOGITS, Sampling(temperature=1, top_k=2)) > 0
    assert kept.tolist() == [False, True, True, False, False]


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    full = probabilities(LOGITS, Sampling(temperature=1))
    share = float(full[1] + full[2])
    assert (probabilities(LOGITS, Sampling(1, top_p=share - 1e-9)) > 0).sum() == 2
    assert (probabilities(LOGITS, Sampling(1, top_p=share + 1e-9)) > 0).sum() == 3
    assert (probabilities(LOGITS, Sampling(1, top_p=1e-9)) > 0).sum() == 1


def test_draws_of_many_positions_follow_the_probabilities():
    sampling = Sampling(temperature=1.3, top_k=4, seed=5)
    counts = np.bincount([draw(LOGITS, sampling, n) for n in range(4000)], minlength=5)
    expected = probabilities(LOGITS, sampling) * 4000
    assert counts[3] == 0
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-4


def test_a_number_depends_on_seed_and_position_alone():
    assert uniform(1, 2) == uniform(1, 2)
    assert len({uniform(seed, position) for seed in range(20) for position in range(20)}) == 400


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="top_p"):
        Sampling(top_p=0)
