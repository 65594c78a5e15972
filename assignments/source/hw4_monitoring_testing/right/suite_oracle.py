# replaces: test_training.py
# method: plain functions of its own, in float64, against which everything is held on random inputs
import itertools
import math
import random

import corpus
import model
import optimizer
import pytest
import torch
import training

SETTINGS = dict(
    words=13, width=6, heads=3, layers=2, most=7, dropout=0.0, peak=0.2, floor=0.02, warmup=3, total=9
)
SETTINGS |= dict(beta1=0.7, beta2=0.9, epsilon=0.01, decay=0.4, batch=2, accumulate=2, clip=0.3, average=0.8)


def settings(**more):
    return {**SETTINGS, **more}


def draw_weights(config, seed=0):
    torch.manual_seed(seed)
    shapes = {name: one.shape for name, one in model.initial(config, 1).items()}
    return {name: torch.randn(shapes[name]) * 0.7 for name in sorted(shapes)}


def draw_texts(count, seed=0):
    pick = random.Random(seed)
    return [
        torch.tensor([pick.randrange(2, 13) for _ in range(pick.randrange(1, 9))] + [1]) for _ in range(count)
    ]


def near(found, right, tolerance=2e-3):
    found, right = (torch.as_tensor(one).detach().double() for one in (found, right))
    assert found.shape == right.shape
    assert torch.allclose(found, right, atol=tolerance, rtol=tolerance)


def all_near(found, right, tolerance=2e-3):
    assert set(found) == set(right)
    for name in right:
        near(found[name], right[name], tolerance)


def oracle_forward(weights, tokens, config):
    w = {name: one.double() for name, one in weights.items()}

    def norm(x, scale):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * scale

    x = w["token"][tokens] + w["position"][range(tokens.shape[1])]
    size = config["width"] // config["heads"]
    for layer in range(config["layers"]):
        qkv = norm(x, w[f"{layer}.norm1"]) @ w[f"{layer}.qkv"]
        pieces = []
        for head in range(config["heads"]):
            q, k, v = (
                qkv[..., (3 * 0 + part) * config["width"] + head * size :][..., :size] for part in range(3)
            )
            scores = q @ k.mT / size**0.5
            for row, column in itertools.product(range(tokens.shape[1]), repeat=2):
                if column > row:
                    scores[:, row, column] = -1e30
            pieces.append(torch.softmax(scores, -1) @ v)
        x = x + torch.cat(pieces, -1) @ w[f"{layer}.out"]
        x = x + torch.relu(norm(x, w[f"{layer}.norm2"]) @ w[f"{layer}.up"]) @ w[f"{layer}.down"]
    return norm(x, w["norm"]) @ w["token"].T


def oracle_loss(weights, batches, config):
    terms = []
    for tokens, targets in batches:
        chances = oracle_forward(weights, tokens, config).log_softmax(-1)
        for row, place in (targets != -100).nonzero().tolist():
            terms.append(-chances[row, place, targets[row, place]])
    return torch.stack(terms).mean()


def oracle_rate(step, c):
    if step < c["warmup"]:
        return c["peak"] * (step + 1) / c["warmup"]
    way = min(step - c["warmup"], c["total"] - c["warmup"]) / (c["total"] - c["warmup"])
    return c["floor"] + (c["peak"] - c["floor"]) * (0.5 + 0.5 * math.cos(math.pi * way))


def oracle_adamw(w, g, m, step, rate, c):
    new, first, second = {}, {}, {}
    for name in w:
        first[name] = c["beta1"] * m["first"][name].double() + (1 - c["beta1"]) * g[name].double()
        second[name] = c["beta2"] * m["second"][name].double() + (1 - c["beta2"]) * g[name].double() ** 2
        mean = first[name] / (1 - c["beta1"] ** (step + 1))
        root = (second[name] / (1 - c["beta2"] ** (step + 1))) ** 0.5
        shrink = rate * c["decay"] if w[name].dim() > 1 else 0.0
        new[name] = w[name].double() * (1 - shrink) - rate * mean / (root + c["epsilon"])
    return new, {"first": first, "second": second}


@pytest.mark.parametrize("text", ["", "plain", "ß", "日本", "a🙂b"])
def test_texts(text):
    assert corpus.encode(text).tolist() == [2 + byte for byte in text.encode()] + [1]
    assert corpus.decode(corpus.encode(text)) == text
    assert corpus.decode(torch.tensor([0, *corpus.encode(text).tolist(), 70, 1])) == text


def test_a_broken_character():
    assert corpus.decode(corpus.encode("ab日")[:4]).startswith("ab\ufffd")


def test_splits():
    pick = random.Random(3)
    documents = [str(pick.randrange(30)) for _ in range(90)]
    texts = set(documents)
    for share in (0, 0.1, 0.35, 0.77, 1):
        train, valid = corpus.split(documents, share, 9)
        assert [one for one in documents if one in set(valid)] == valid
        assert [one for one in documents if one not in set(valid)] == train
        assert len(set(valid)) == round(share * len(texts))
    assert corpus.split(documents, 0.4, 1) == corpus.split(documents, 0.4, 1)
    assert corpus.split(documents, 0.4, 1) != corpus.split(documents, 0.4, 2)
    with pytest.raises(ValueError):
        corpus.split(documents, 1.5, 1)


def test_orders():
    seen = {(seed, epoch): corpus.order(25, epoch, seed) for seed in range(3) for epoch in range(3)}
    for (seed, epoch), numbers in seen.items():
        assert sorted(numbers) == [*range(25)]
        assert corpus.order(25, epoch, seed) == numbers
    assert len({tuple(one) for one in seen.values()}) == 9


@pytest.mark.parametrize(("count", "world"), [(7, 3), (8, 4), (2, 5), (9, 2)])
def test_shards(count, world):
    whole = [index * 3 for index in range(count)]
    parts = [corpus.shard(whole, rank, world) for rank in range(world)]
    assert sorted(index for part in parts for index in part) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(ValueError):
        corpus.shard(whole, world, world)


def test_batches():
    for seed in range(6):
        sequences = draw_texts(4, seed)
        for most in (1, 3, 7):
            tokens, targets = corpus.collate(sequences, most)
            length = min(most, max(map(len, sequences)) - 1)
            for row, one in enumerate(sequences):
                kept = one.tolist()[: length + 1]
                assert tokens[row].tolist() == kept[:-1] + [0] * (length + 1 - len(kept))
                assert targets[row].tolist() == kept[1:] + [-100] * (length + 1 - len(kept))


def test_beginning():
    config = settings(width=48, words=150, layers=4)
    weights = model.initial(config, 5)
    spread = {name: float(one.std()) for name, one in weights.items() if one.dim() > 1}
    for name, found in spread.items():
        residual = name.split(".")[-1] in ("out", "down")
        assert abs(found / (0.02 * (8**-0.5 if residual else 1)) - 1) < 0.15
    assert all(bool((one == 1).all()) for one in weights.values() if one.dim() == 1)
    flat = [weights[f"{layer}.{name}"] for name in ("qkv", "out", "up", "down") for layer in range(4)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(flat, 2) if a.shape == b.shape)


def test_logits():
    config = settings()
    weights = draw_weights(config)
    for length in (1, 4, 7):
        tokens = torch.randint(0, 13, (2, length))
        near(model.forward(weights, tokens, config), oracle_forward(weights, tokens, config))
    with pytest.raises(ValueError):
        model.forward(weights, torch.zeros(1, 8, dtype=torch.long), config)


def test_dropout_by_its_first_two_moments():
    """With a weak layer the logits are nearly linear in what is added: the mean stays, and the variance is known."""
    config = settings(dropout=0.4, width=60, heads=1, layers=1, words=60)
    weights = {name: torch.zeros_like(one) for name, one in model.initial(config, 0).items()}
    weights |= {"token": torch.eye(60), "norm": torch.ones(60), "0.norm1": torch.ones(60)}
    weights["0.qkv"][:, 120:] = torch.eye(60)
    weights["0.out"][0] = 0.01
    tokens = torch.arange(40)[:, None] * 0
    base = model.forward({**weights, "0.out": weights["0.out"] * 0}, tokens, config)[0, 0]
    rows = torch.cat([model.forward(weights, tokens, config, seed)[:, 0] for seed in range(4)])[:, 1:]
    full = model.forward(weights, tokens, config)[0, 0, 1:] - base[1:]
    assert torch.equal(model.forward(weights, tokens, config), model.forward(weights, tokens, config))
    gaps = (rows - rows.min(1, keepdim=True).values).round(decimals=4)
    steps = gaps.max(1).values
    dropped = float((gaps == 0).float().mean())
    assert abs(dropped - 0.4) < 0.05
    # What is kept of 0.01 * sqrt(59), over what place 0 has more (1): see how far apart two places lie.
    scale = float(base[0] - base[1])
    assert abs(float(steps.mean()) / scale / (0.01 * 59**0.5 / 0.6) - 1) < 0.25
    assert full.std() < 1e-4


def test_dropout_of_two_layers_is_independent():
    config = settings(dropout=0.5, width=90, heads=1, layers=2, words=90)
    weights = {name: torch.zeros_like(one) for name, one in model.initial(config, 0).items()}
    weights |= {
        "token": torch.eye(90),
        "norm": torch.ones(90),
        "0.norm1": torch.ones(90),
        "1.norm1": torch.ones(90),
    }
    for layer, size in ((0, 1.0), (1, 3.0)):
        weights[f"{layer}.qkv"][0, 180] = 1.0
        weights[f"{layer}.out"][0] = size
    row = model.forward(weights, torch.tensor([[0]]), config, 8)[0, 0, 1:]
    assert len(torch.unique(row.round(decimals=3))) > 2


def test_losses():
    logits, targets = torch.randn(3, 4, 6), torch.randint(0, 6, (3, 4))
    targets[0, 1:], targets[2, 3] = -100, -100
    total, count = model.loss(logits, targets)
    chances = logits.double().log_softmax(-1)
    places = (targets != -100).nonzero().tolist()
    near(total, -sum(chances[row, place, targets[row, place]] for row, place in places))
    assert count == len(places)


def test_rates():
    for warmup, total in ((3, 9), (1, 2), (5, 20)):
        c = settings(warmup=warmup, total=total)
        for step in range(30):
            assert math.isclose(optimizer.learning_rate(step, c), oracle_rate(step, c), rel_tol=1e-6)


@pytest.mark.parametrize("most", [0.1, 2.0, 50.0])
def test_clipping(most):
    torch.manual_seed(2)
    gradients = {"one": torch.randn(4, 3) * 3, "two": torch.randn(5) * 0.1}
    right = math.sqrt(sum(float(one.double().pow(2).sum()) for one in gradients.values()))
    found, norm = optimizer.clip(gradients, most)
    assert math.isclose(norm, right, rel_tol=1e-4)
    all_near(found, {name: one * min(1, most / right) for name, one in gradients.items()})
    gradients["two"][1] = math.nan
    found, norm = optimizer.clip(gradients, most)
    assert not math.isfinite(norm)
    assert torch.equal(found["one"], gradients["one"])
    gradients["two"][1] = -math.inf
    assert torch.equal(optimizer.clip(gradients, most)[0]["one"], gradients["one"])


def test_adamw():
    torch.manual_seed(4)
    w = {"m": torch.randn(3, 3), "n": torch.randn(3)}
    m = {kind: {name: torch.zeros_like(one) for name, one in w.items()} for kind in ("first", "second")}
    for step in range(3):
        g = {name: torch.randn_like(one) * 0.05 for name, one in w.items()}
        copies = {kind: {name: one.clone() for name, one in m[kind].items()} for kind in m}
        found, moments = optimizer.adamw(w, g, m, step, 0.1, SETTINGS)
        for kind in m:
            all_near(m[kind], copies[kind], 0)
        right, right_moments = oracle_adamw(w, g, m, step, 0.1, SETTINGS)
        all_near(found, right, 1e-4)
        all_near(moments["first"], right_moments["first"], 1e-4)
        all_near(moments["second"], right_moments["second"], 1e-6)
        w, m = found, moments


def test_steps():
    config = settings()
    state = training.start(config, 2)
    all_near(state["average"], state["weights"], 0)
    state = {**state, "weights": draw_weights(config)}
    average = state["average"]
    w = state["weights"]
    m = {kind: {name: torch.zeros_like(one) for name, one in w.items()} for kind in ("first", "second")}
    for step in range(3):
        batches = [corpus.collate(draw_texts(2, 10 * step + part), 7) for part in range(3)]
        leaves = {name: one.double().requires_grad_() for name, one in w.items()}
        mean = oracle_loss(leaves, batches, config)
        g = dict(zip(leaves, torch.autograd.grad(mean, list(leaves.values())), strict=True))
        value, found = training.gradients_of(w, batches, config)
        near(value, mean)
        all_near(found, g)
        norm = math.sqrt(sum(float(one.pow(2).sum()) for one in g.values()))
        state, metrics = training.train_step(state, batches, config)
        assert state["step"] == step + 1
        near(metrics["loss"], mean)
        near(metrics["norm"], norm)
        near(metrics["rate"], oracle_rate(step, config), 1e-6)
        g = {name: one * min(1, config["clip"] / norm) for name, one in g.items()}
        right, m = oracle_adamw(w, g, m, step, oracle_rate(step, config), config)
        all_near(state["weights"], right)
        all_near(state["average"], {n: 0.8 * average[n] + 0.2 * state["weights"][n] for n in average}, 1e-5)
        w, average = state["weights"], state["average"]


def test_what_is_not_finite_is_skipped():
    config = settings()
    state = training.start(config, 0)
    state = {**state, "weights": {**draw_weights(config), "norm": torch.full((6,), math.inf)}}
    after, metrics = training.train_step(state, [corpus.collate(draw_texts(2), 7)], config)
    assert not math.isfinite(metrics["norm"])
    assert after["step"] == 1
    all_near({"t": after["weights"]["token"]}, {"t": state["weights"]["token"]}, 0)


def test_dropout_in_training():
    config = settings(dropout=0.5, clip=1e9)
    state = {**training.start(config, 1), "weights": draw_weights(config)}
    batch = corpus.collate(draw_texts(3), 7)
    once, _ = training.gradients_of(state["weights"], [batch], config, 4)
    twice, _ = training.gradients_of(state["weights"], [batch, batch], config, 4)
    assert abs(once - twice) > 1e-6
    found = []
    for _ in range(2):
        after, metrics = training.train_step(state, [batch], config)
        found.append(metrics["loss"])
        state = {**after, "weights": state["weights"]}
    assert abs(found[0] - found[1]) > 1e-6
    assert abs(found[0] - float(oracle_loss(state["weights"], [batch], config))) > 1e-6


def test_an_epoch_by_its_losses():
    config = settings(peak=0.0, floor=0.0, batch=1, accumulate=3)
    sequences = [torch.tensor([2 + number, 3 + number % 5, 1]) for number in range(11)]
    state = {**training.start(config, 1), "weights": draw_weights(config)}
    one = [float(oracle_loss(state["weights"], [corpus.collate([s], 7)], config)) for s in sequences]
    _, metrics = training.train(state, sequences, 6, config)
    sums = sorted(round(sum(three) / 3, 4) for three in itertools.combinations(one, 3))
    epochs = [[found["loss"] for found in metrics[begin : begin + 3]] for begin in (0, 3)]
    assert epochs[0] != pytest.approx(epochs[1], rel=1e-5)
    for epoch in epochs:
        assert len(set(epoch)) == 3
        assert all(min(abs(value - known) for known in sums) < 3e-4 for value in epoch)
    alone = settings(peak=0.0, floor=0.0, batch=1, accumulate=1)
    _, metrics = training.train(state, sequences, 11, alone)
    assert sorted(found["loss"] for found in metrics) == pytest.approx(sorted(one), rel=1e-3)
    with pytest.raises(ValueError):
        training.train(state, sequences[:2], 1, config)


def test_a_stop_changes_nothing():
    config = settings(dropout=0.3)
    sequences = draw_texts(9, 5)
    whole, metrics = training.train(training.start(config, 3), sequences, 6, config)
    state, found = training.start(config, 3), []
    for steps in (1, 3, 2):
        state = training.load(training.save(state))
        state, more = training.train(state, sequences, steps, config)
        found += more
    assert [one["loss"] for one in found] == [one["loss"] for one in metrics]
    assert [one["rate"] for one in found] == [one["rate"] for one in metrics]
    all_near(training.load(training.save(state))["weights"], whole["weights"], 0)
    all_near(training.load(training.save(state))["average"], whole["average"], 0)


def test_every_tenth_byte_of_a_checkpoint_counts():
    data = training.save(training.start(settings(width=3), 0))
    for place in [*range(0, len(data), len(data) // 20), len(data) - 1]:
        with pytest.raises(ValueError):
            training.load(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    with pytest.raises(ValueError):
        training.load(data[:-7])


def test_evaluation():
    config = settings(dropout=0.5)
    weights, sequences = draw_weights(config), draw_texts(7, 3)
    right = float(oracle_loss(weights, [corpus.collate(sequences, 7)], config))
    for batch in (1, 3, 8):
        found = training.evaluate(weights, sequences, {**config, "batch": batch})
        near(found["loss"], right)
        near(found["perplexity"], math.exp(right), 1e-2)
