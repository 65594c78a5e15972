# replaces: test_training.py
# method: properties with Hypothesis where there are many inputs, PyTorch's modules as a measure where there is one
import math

import pytest
import torch
import torch.nn.functional as F
from corpus import collate, decode, encode, order, shard, split
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model import forward, initial, loss
from optimizer import adamw, clip, learning_rate
from training import evaluate, gradients_of, load, save, start, train, train_step

# The suite runs a hundred times; five examples a time find what thirty find.
settings.register_profile("few", settings(), max_examples=5)
settings.load_profile("few")


@pytest.fixture
def config():
    return {
        **{
            "words": 10,
            "width": 12,
            "heads": 3,
            "layers": 1,
            "most": 8,
            "dropout": 0.0,
            "batch": 2,
            "accumulate": 1,
        },
        **{
            "peak": 0.05,
            "floor": 0.02,
            "warmup": 2,
            "total": 6,
            "beta1": 0.85,
            "beta2": 0.95,
            "epsilon": 2e-3,
        },
        **{"decay": 0.5, "clip": 0.2, "average": 0.6},
    }


@pytest.fixture
def weights(config):
    torch.manual_seed(7)
    return {
        name: torch.rand(one.shape) + 0.5 if one.dim() == 1 else torch.randn(one.shape) * 0.5
        for name, one in sorted(initial(config, 0).items())
    }


@pytest.fixture
def sequences():
    torch.manual_seed(8)
    return [
        torch.cat([torch.randint(2, 10, (length,)), torch.tensor([1])]) for length in (3, 7, 1, 5, 6, 2, 4)
    ]


class TestCorpus:
    @given(st.text(max_size=20))
    def test_texts_come_back(self, text):
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
            return
        tokens = encode(text)
        assert tokens[-1] == 1
        assert decode(tokens) == text
        assert len(tokens) == len(text.encode()) + 1

    @given(st.binary(max_size=12))
    def test_any_bytes_are_read(self, data):
        tokens = torch.tensor([2 + byte for byte in data] + [1, 99], dtype=torch.int64)
        assert decode(tokens) == data.decode(errors="replace")

    @given(
        st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=40),
        st.floats(0, 1),
        st.integers(0, 99),
    )
    def test_sides(self, documents, share, seed):
        train_, valid = split(documents, share, seed)
        assert not set(train_) & set(valid)
        assert len(set(valid)) == round(share * len(set(documents)))
        assert [one for one in documents if one in valid] == valid
        assert [one for one in documents if one in train_] == train_

    def test_sides_are_drawn(self):
        documents = [str(number) for number in range(30)]
        assert len({tuple(split(documents, 0.5, seed)[1]) for seed in range(5)}) == 5

    @given(st.integers(0, 50), st.integers(0, 9), st.integers(0, 999))
    def test_orders(self, count, epoch, seed):
        found = order(count, epoch, seed)
        assert sorted(found) == list(range(count))
        assert found == order(count, epoch, seed)
        if count > 20:
            assert found != order(count, epoch + 1, seed)
            assert found != order(count, epoch, seed + 1)

    @given(st.lists(st.integers(), max_size=20, unique=True), st.integers(1, 5))
    @example([7, 1, 5, 2, 9], 4)
    def test_shards(self, indices, world):
        parts = [shard(indices, rank, world) for rank in range(world)]
        assert sorted(index for part in parts for index in part) == sorted(indices)
        assert max(map(len, parts)) <= min(map(len, parts)) + 1

    @given(
        st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=9), min_size=1, max_size=4),
        st.integers(1, 9),
    )
    def test_batches(self, lists, most):
        tokens, targets = collate([torch.tensor(one) for one in lists], most)
        length = min(most, max(map(len, lists)) - 1)
        rows = [one[: length + 1] for one in lists]
        assert tokens.tolist() == [row[:-1] + [0] * (length + 1 - len(row)) for row in rows]
        assert targets.tolist() == [row[1:] + [-100] * (length + 1 - len(row)) for row in rows]


class TestModel:
    @pytest.mark.parametrize("layers", [1, 2, 5])
    def test_new_weights(self, config, layers):
        found = initial({**config, "layers": layers, "width": 60}, 1)
        for layer in range(layers):
            for name in ("out", "down"):
                assert float(found[f"{layer}.{name}"].std()) == pytest.approx(
                    0.02 / (2 * layers) ** 0.5, rel=0.15
                )
            for name in ("qkv", "up"):
                assert float(found[f"{layer}.{name}"].std()) == pytest.approx(0.02, rel=0.15)
        if layers > 1:
            assert not torch.equal(found["0.up"], found["1.up"])

    def test_against_torchs_layers(self, config, weights):
        tokens = torch.randint(0, 10, (3, 6))
        attention = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True)
        with torch.no_grad():
            attention.in_proj_weight.copy_(weights["0.qkv"].T)
            attention.out_proj.weight.copy_(weights["0.out"].T)
            x = F.embedding(tokens, weights["token"]) + weights["position"][:6]
            mask = torch.nn.Transformer.generate_square_subsequent_mask(6)
            inner = F.layer_norm(x, (12,), weights["0.norm1"])
            x = x + attention(inner, inner, inner, attn_mask=mask, need_weights=False)[0]
            inner = F.relu(F.layer_norm(x, (12,), weights["0.norm2"]) @ weights["0.up"])
            x = x + inner @ weights["0.down"]
            right = F.layer_norm(x, (12,), weights["norm"]) @ weights["token"].T
        torch.testing.assert_close(forward(weights, tokens, config), right, atol=1e-3, rtol=1e-3)

    def test_too_long(self, config, weights):
        with pytest.raises(ValueError):
            forward(weights, torch.zeros(1, config["most"] + 1, dtype=torch.int64), config)

    def test_dropout(self, config, weights):
        tokens = torch.tensor([[3, 5]])
        dropping = {**config, "dropout": 0.5}
        assert torch.equal(forward(weights, tokens, dropping), forward(weights, tokens, config))
        assert torch.equal(forward(weights, tokens, dropping, 1), forward(weights, tokens, dropping, 1))
        # Attention is all that adds, and little, so that the mean of many stays what it is without.
        weak = {**weights, "0.down": weights["0.down"] * 0, "0.out": weights["0.out"] * 1e-2}
        nothing = {**weak, "0.out": weak["0.out"] * 0}
        rows = torch.stack([forward(weak, tokens, dropping, seed) for seed in range(120)]).mean(0)
        base, added = forward(nothing, tokens, config), forward(weak, tokens, config)
        share = float(((rows - base) * (added - base)).sum() / (added - base).square().sum())
        assert share == pytest.approx(1, abs=0.3)

    @given(st.integers(0, 10**6))
    def test_loss(self, seed):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(2, 5, 7, generator=generator)
        targets = torch.randint(0, 7, (2, 5), generator=generator)
        targets[0, 3:] = -100
        total, count = loss(logits, targets)
        assert count == 8
        assert float(total) / 8 == pytest.approx(float(F.cross_entropy(logits.mT, targets)), rel=1e-4)


class TestOptimizer:
    @given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 30))
    def test_rates(self, warmup, more, step):
        settings = {"peak": 1.0, "floor": 0.25, "warmup": warmup, "total": warmup + more}
        if step < warmup:
            right = (step + 1) / warmup
        else:
            right = 0.25 + 0.375 * (1 + math.cos(math.pi * min(1, (step - warmup) / more)))
        assert learning_rate(step, settings) == pytest.approx(right)

    @given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=6), st.floats(0.01, 300))
    def test_clip(self, numbers, most):
        gradients = {"a": torch.tensor(numbers[:2]), "b": torch.tensor([numbers[2:]])}
        right = math.sqrt(sum(number**2 for number in numbers))
        found, norm = clip(gradients, most)
        assert norm == pytest.approx(right, rel=1e-4, abs=1e-6)
        for name, one in gradients.items():
            factor = min(1.0, most / right) if right else 1.0
            torch.testing.assert_close(found[name], one * factor, atol=1e-4, rtol=1e-3)

    def test_infinite_gradients(self):
        gradients = {"a": torch.tensor([math.inf, 1.0]), "b": torch.tensor([2.0])}
        found, norm = clip(gradients, 1.0)
        assert norm == math.inf
        assert torch.equal(found["b"], gradients["b"])

    def test_adamw(self, config):
        torch.manual_seed(3)
        found = {"m": torch.randn(2, 2), "n": torch.randn(2)}
        right = {name: one.clone() for name, one in found.items()}
        moments = {kind: {name: one * 0 for name, one in found.items()} for kind in ("first", "second")}
        state = {name: [one * 0, one * 0, torch.tensor(0.0)] for name, one in found.items()}
        for step in range(5):
            gradients = {name: torch.randn_like(one) * 0.03 for name, one in found.items()}
            kept = {name: one.clone() for name, one in moments["first"].items()}
            found, after = adamw(found, gradients, moments, step, 0.1, config)
            assert all(torch.equal(moments["first"][name], one) for name, one in kept.items())
            moments = after
            for name, one in right.items():
                first, second, _ = state[name]
                first.lerp_(gradients[name], 0.15)
                second.mul_(0.95).addcmul_(gradients[name], gradients[name], value=0.05)
                if name == "m":
                    one.mul_(1 - 0.1 * 0.5)
                root = (second / (1 - 0.95 ** (step + 1))).sqrt() + 2e-3
                one.addcdiv_(first, root, value=-0.1 / (1 - 0.85 ** (step + 1)))
                torch.testing.assert_close(found[name], one, atol=1e-5, rtol=1e-4)


class TestTraining:
    def test_start(self, config):
        state = start(config, 3)
        assert state["step"] == 0
        for name, weight in state["weights"].items():
            torch.testing.assert_close(state["average"][name], weight)

    def test_accumulation(self, config, weights, sequences):
        whole = gradients_of(weights, [collate(sequences, 8)], config)
        pieces = gradients_of(weights, [collate(sequences[:2], 8), collate(sequences[2:], 8)], config)
        assert whole[0] == pytest.approx(pieces[0], rel=1e-4)
        for name, one in whole[1].items():
            torch.testing.assert_close(pieces[1][name], one, atol=1e-5, rtol=1e-3)

    def test_steps(self, config, weights, sequences):
        state = {**start(config, 4), "weights": weights}
        zeros = {name: torch.zeros_like(one) for name, one in weights.items()}
        moments, batches = {"first": zeros, "second": zeros}, [collate(sequences[:3], 8)]
        for step in range(2):
            clipped, norm = clip(gradients_of(state["weights"], batches, config)[1], 0.2)
            assert norm > 0.2
            rate = learning_rate(step, config)
            right, moments = adamw(state["weights"], clipped, moments, step, rate, config)
            before, (state, metrics) = state, train_step(state, batches, config)
            assert (metrics["rate"], state["step"]) == (pytest.approx(rate), step + 1)
            assert metrics["norm"] == pytest.approx(norm, rel=1e-3)
            for name, one in right.items():
                torch.testing.assert_close(state["weights"][name], one, atol=1e-4, rtol=1e-3)
                mean = 0.6 * before["average"][name] + 0.4 * one
                torch.testing.assert_close(state["average"][name], mean, atol=1e-4, rtol=1e-3)

    def test_nan(self, config, weights, sequences):
        state = {**start(config, 4), "weights": {**weights, "norm": weights["norm"] * math.nan}}
        after, _ = train_step(state, [collate(sequences[:2], 8)], config)
        assert after["step"] == 1
        assert torch.equal(after["weights"]["token"], weights["token"])

    def test_dropout_is_another_in_every_step(self, config, weights, sequences):
        frozen = {**config, "dropout": 0.5, "peak": 0.0, "floor": 0.0}
        state, batches = {**start(frozen, 4), "weights": weights}, [collate(sequences[:3], 8)]
        losses = [gradients_of(weights, batches, frozen)[0]]
        for _ in range(3):
            state, metrics = train_step(state, batches, frozen)
            losses.append(metrics["loss"])
        assert len({round(one, 6) for one in losses}) == 4

    def test_epochs(self, config, weights, sequences):
        frozen = {**config, "peak": 0.0, "floor": 0.0, "batch": 1}
        state = {**start(frozen, 4), "weights": weights}
        _, metrics = train(state, sequences, 14, frozen)
        losses = [one["loss"] for one in metrics]
        assert sorted(losses[:7]) == pytest.approx(sorted(losses[7:]), rel=1e-5)
        assert losses[:7] != pytest.approx(losses[7:], rel=1e-5)
        assert len({round(one, 4) for one in losses[:7]}) == 7

    def test_micro_batches_of_a_step(self, config, weights):
        frozen = {**config, "peak": 0.0, "floor": 0.0, "batch": 1, "accumulate": 1}
        sequences = [torch.tensor([2, 3, number, 1]) for number in range(2, 8)]
        state = {**start(frozen, 4), "weights": weights}
        _, alone = train(state, sequences, 6, frozen)
        _, together = train(state, sequences, 1, {**frozen, "batch": 2, "accumulate": 3})
        assert together[0]["loss"] == pytest.approx(sum(one["loss"] for one in alone) / 6, rel=1e-3)

    @pytest.mark.parametrize("at", [2, 4])
    def test_resume(self, config, sequences, at):
        config = {**config, "dropout": 0.2}
        whole, metrics = train(start(config, 5), sequences, 5, config)
        state, first = train(start(config, 5), sequences, at, config)
        state, second = train(load(save(state)), sequences, 5 - at, config)
        assert [one["loss"] for one in metrics] == [one["loss"] for one in first + second]
        for kind in ("weights", "average"):
            assert all(torch.equal(state[kind][name], one) for name, one in whole[kind].items())

    def test_damage(self, config):
        data = save(start(config, 5))
        for place in range(1, len(data), len(data) // 12):
            with pytest.raises(ValueError):
                load(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])

    @pytest.mark.parametrize("batch", [1, 2, 4])
    def test_evaluation(self, config, weights, sequences, batch):
        tokens, targets = collate(sequences, 8)
        right = float(F.cross_entropy(forward(weights, tokens, config).mT, targets))
        found = evaluate(weights, sequences, {**config, "batch": batch, "dropout": 0.5})
        assert found["loss"] == pytest.approx(right, rel=1e-3)
        assert found["perplexity"] == pytest.approx(math.exp(right), rel=1e-2)
