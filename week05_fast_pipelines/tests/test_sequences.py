"""Batches hold every text once, targets never cross a text, and a packed text does not notice its neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from week05_fast_pipelines import packing, sequences

LONGEST = 24


def random_texts(lengths, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, sequences.VOCABULARY, length) for length in lengths]


def ways(parts):
    return {
        "fixed": sequences.fixed(parts, 4, LONGEST),
        "per batch": sequences.per_batch(parts, 4),
        "bucketed": sequences.bucketed(parts, 4, pool=2),
        "packed": sequences.packed(parts, 2, LONGEST),
        "packed, best fit": sequences.packed(parts, 2, LONGEST, packing.BEST_FIT),
    }


def texts_of(batches):
    """The texts in all batches, as tuples."""
    found = []
    for batch in batches:
        for number in range(int(batch.text.max()) + 1):
            found.append(tuple(batch.tokens[batch.text == number].tolist()))
    return found


@settings(max_examples=30)
@given(st.lists(st.integers(2, LONGEST), min_size=1, max_size=20))
def test_every_way_to_batch_holds_every_text_once_with_as_many_targets(lengths):
    parts = random_texts(lengths)
    for batches in ways(parts).values():
        assert sorted(texts_of(batches)) == sorted(tuple(part.tolist()) for part in parts)
        assert sum(batch.counting for batch in batches) == sum(lengths) - len(lengths)


def test_a_target_is_the_next_token_of_the_same_text_and_the_last_has_none():
    batch = sequences.lay_out([[np.array([5, 6, 7]), np.array([8, 9])]], 7)
    none = sequences.NOTHING
    assert batch.target.tolist() == [[6, 7, none, 9, none, none, none]]
    assert batch.place.tolist() == [[0, 1, 2, 0, 1, 0, 0]]
    assert batch.text.tolist() == [[0, 0, 0, 1, 1, -1, -1]]
    assert batch.padding == pytest.approx(2 / 7)


def test_the_mask_lets_a_token_see_its_own_text_only_and_not_ahead():
    batch = sequences.lay_out([[np.array([5, 6]), np.array([8, 9])]], 4)
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert sequences.block_diagonal(batch)[0, 0].int().tolist() == expected


@pytest.fixture(scope="module")
def reader():
    return sequences.Reader(width=16, heads=2, blocks=2, longest=LONGEST).double()


@pytest.mark.parametrize("name", ["fixed", "bucketed", "packed", "packed, best fit"])
def test_loss_and_gradient_do_not_depend_on_the_way_to_batch(reader, name):
    made = ways(random_texts([3, 24, 7, 7, 12, 2, 9, 20, 5, 5]))
    loss, gradient = sequences.gradient(reader, made["per batch"], mask=False)
    other, same = sequences.gradient(reader, made[name], mask=True)
    assert other == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(gradient, same, rtol=1e-9, atol=1e-12)


def test_packs_are_as_good_as_single_texts_with_mask_and_restart_only(reader):
    made = ways(random_texts([3, 24, 7, 7, 12, 2, 9]))
    apart = sequences.against_single(reader, made["per batch"], made["packed"])
    loss, gradient = apart.pop((True, True))
    assert loss < 1e-12 > gradient
    assert len(apart) == 3
    assert all(loss > 1e-6 and gradient > 0.01 for loss, gradient in apart.values())


@pytest.mark.parametrize(("options", "notices"), [({}, False), ({"mask": False}, True)])
def test_a_text_notices_its_neighbour_only_without_a_mask(reader, options, notices):
    first, other, second = random_texts([6, 6, 8])

    def loss_of_second(before):
        batch = sequences.lay_out([[before, second]], LONGEST)
        target = torch.where(batch.text == 1, batch.target, sequences.NOTHING)
        changed = sequences.Batch(batch.tokens, batch.text, batch.place, target)
        return float(sequences.summed_loss(reader, changed, **options).detach())

    assert (loss_of_second(first) != loss_of_second(other)) == notices


def test_places_that_do_not_restart_are_another_model(reader):
    batch = sequences.lay_out([random_texts([6, 8])], LONGEST)
    with torch.no_grad():
        assert sequences.summed_loss(reader, batch) != sequences.summed_loss(reader, batch, restart=False)


def test_training_lowers_the_loss_and_leaves_the_random_state():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model = sequences.Reader(width=16, heads=2, blocks=1, longest=LONGEST)
    batches = sequences.packed(random_texts([8] * 12), 2, LONGEST)
    before = sequences.gradient(model, batches)[0]
    for _ in range(10):
        assert sequences.train(model, batches, masks=True, rate=1e-2) == 12 * 7
    assert sequences.gradient(model, batches)[0] < before
    assert torch.equal(torch.get_rng_state(), state)


def test_real_texts_are_no_longer_than_asked_and_of_the_vocabulary():
    found = sequences.texts(64)
    assert len(found) > 1000
    assert max(map(len, found)) <= 64
    assert min(map(len, found)) >= 2
    assert max(int(text.max()) for text in found) < sequences.VOCABULARY
