"""The model of the week: a chain, causal, and the same from the same seed."""

import pytest
import torch

from effdl.transformer import Config, Transformer, next_token_loss, text_batch

CONFIG = Config(length=16, width=32, heads=2, blocks=2)


def test_weights_depend_on_the_seed_alone_and_leave_the_random_state():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = Transformer(CONFIG, seed=5)
    assert torch.equal(torch.rand(3), expected)
    two, other = Transformer(CONFIG, seed=5), Transformer(CONFIG, seed=6)
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.head.logits.weight, other.head.logits.weight)


def test_no_token_sees_a_later_one():
    model, (tokens, _) = Transformer(CONFIG), text_batch(0, 2, 16)
    before = model(tokens)
    tokens[:, 9] = (tokens[:, 9] + 1) % 128
    after = model(tokens)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.equal(before[:, 9:], after[:, 9:])


def test_attention_is_that_of_pytorch():
    attention = Transformer(CONFIG).blocks[0].attention
    # In float64: in float32 PyTorch's fast kernel has an exponential that may be off by 20 units in the last place.
    q, k, v = torch.randn(3, 2, 2, 16, 16, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(attention.core(q, k, v), expected, rtol=0, atol=1e-12)


def test_a_step_has_one_batch_and_targets_are_one_place_further():
    tokens, targets = text_batch(7, 3, 16)
    again, _ = text_batch(7, 3, 16)
    assert torch.equal(tokens, again)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    assert not torch.equal(tokens, text_batch(8, 3, 16)[0])


def test_the_model_learns_from_the_text():
    model = Transformer(CONFIG)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    losses = []
    for step in range(20):
        tokens, targets = text_batch(step, 8, 16)
        loss = next_token_loss(model(tokens), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # The mean of five batches: the text, Python's handbook, is another one in each version, and batches differ.
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width=30 does not divide into heads=4"):
        Config(width=30)
