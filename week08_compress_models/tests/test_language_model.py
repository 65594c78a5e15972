"""The week's model: bundled files load, the cache is exact, texts do not overlap."""

import pytest
import torch

from week08_compress_models import language_model as lm

SMALL = lm.Config(width=32, blocks=2, heads=4, kv_heads=2, hidden=48)


@pytest.mark.parametrize("seed", [*lm.SEEDS, "draft"])
def test_bundled_models_load_and_predict_far_better_than_chance(seed):
    model = lm.load(seed)
    assert not model.training
    assert model.config == (lm.DRAFT if seed == "draft" else lm.TEACHER)
    assert lm.bits_per_byte(model, lm.validation(4)) < 3.5  # a byte drawn evenly needs 8


def test_an_unknown_seed_is_named():
    with pytest.raises(FileNotFoundError, match="teacher-7"):
        lm.load(7)


def test_the_files_are_what_the_package_safetensors_reads(tmp_path):
    torch_files = pytest.importorskip("safetensors.torch")
    model = lm.LanguageModel(SMALL)
    lm.save_safetensors(model.state_dict().items(), tmp_path / "a.safetensors")
    theirs, ours = (
        torch_files.load_file(tmp_path / "a.safetensors"),
        lm.load_safetensors(tmp_path / "a.safetensors"),
    )
    assert set(theirs) == set(ours) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(theirs[name].float(), ours[name])
        assert torch.equal(ours[name], value.half().float())


def test_texts_are_separate_and_long_enough():
    parts = {part: lm.text(part) for part in ("validation", "calibration", "training")}
    paragraphs = {part: {p for p in text.split(b"\n\n") if len(p) > 60} for part, text in parts.items()}
    for other in ("training", "calibration"):
        shared = paragraphs["validation"] & paragraphs[other]
        assert sum(map(len, shared)) < 0.02 * len(parts["validation"])
    assert [len(text) > least for text, least in zip(parts.values(), (1e5, 1e5, 1e6), strict=True)] == [
        True
    ] * 3
    assert lm.validation(7).shape == (7, 257)


def test_a_token_never_sees_what_follows_it():
    model, tokens = lm.LanguageModel(SMALL), torch.randint(256, (1, 12))
    changed = tokens.clone()
    changed[0, 8] = (changed[0, 8] + 1) % 256
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


@pytest.mark.parametrize("cuts", [[1] * 12, [5, 7], [1, 4, 4, 3]])
def test_the_cache_gives_the_logits_of_one_pass(cuts):
    model, tokens, cache, found = lm.LanguageModel(SMALL), torch.randint(256, (2, 12)), lm.Cache(), []
    with torch.no_grad():
        for part in tokens.split(cuts, 1):
            found.append(model(part, cache))
        torch.testing.assert_close(torch.cat(found, 1), model(tokens), rtol=1e-4, atol=1e-5)


def test_a_cut_cache_has_forgotten_what_was_rejected():
    model, tokens, cache = lm.LanguageModel(SMALL), torch.randint(256, (1, 10)), lm.Cache()
    with torch.no_grad():
        model(tokens, cache)
        cache.cut(6)
        again = model(tokens[:, 6:], cache)
        torch.testing.assert_close(again, model(tokens)[:, 6:], rtol=1e-4, atol=1e-5)
    assert len(cache) == 10


def test_a_model_follows_from_its_seed_and_leaves_the_random_state():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (lm.LanguageModel(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["logits.weight"], other["logits.weight"])


def test_batches_follow_from_seed_and_step():
    codes = lm.training()
    assert torch.equal(lm.batch_of(codes, 3, 4), lm.batch_of(codes, 3, 4))
    assert not torch.equal(lm.batch_of(codes, 3, 4), lm.batch_of(codes, 4, 4))
    assert lm.batch_of(codes, 0, 4, 16).shape == (4, 17)


def test_generating_by_likeliest_byte_repeats_itself_exactly():
    model = lm.load("draft")
    once = lm.generate(model, b"Return ", 8)
    assert once == lm.generate(model, b"Return ", 8)
    assert once.startswith(b"Return ")
    assert len(once) == 15
