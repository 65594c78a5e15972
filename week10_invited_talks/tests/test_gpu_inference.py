"""The second companion's modules: two stacks of one function, formulas beside counts, loads under way, choices."""

import random
from pathlib import Path

import pytest
import torch

from effdl.exercises import exercises
from week10_invited_talks import choosing, decoding, gpu_decoding, occupancy

PAGE = Path(__file__).resolve().parent.parent / "gpu_inference.md"
SHAPES = [
    decoding.Shape(2, 32, 4, 4, 48),
    decoding.Shape(1, 64, 4, 2, 96, vocabulary=50),
    decoding.Shape(3, 32, 4, 1, 40),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_fusing_by_hand_changes_no_result(shape, batch):
    stack, x = decoding.Stack(shape, batch, context=5), torch.randn(batch, shape.width)
    before = x.clone()
    torch.testing.assert_close(stack.fused(x), stack.written_out(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(x, before)


@torch.no_grad()
def test_a_stack_for_other_rows_shares_its_weights_and_no_cache():
    stack = decoding.Stack(SHAPES[0], 1, context=5)
    other = stack.for_rows(3, 7)
    assert other.weights is stack.weights
    assert other.fused(torch.randn(3, 32)).shape == (3, 32)
    assert stack.caches[0].shape == (2, 1, 4, 5, 8)


@torch.no_grad()
def test_heads_that_share_keys_get_what_repeated_keys_would_give():
    shape = SHAPES[2]
    stack, q = decoding.Stack(shape, 2, context=5), torch.randn(2, shape.width)
    keys, values = stack.caches[0]
    mixed = torch.nn.functional.scaled_dot_product_attention(stack._heads(q), keys, values)
    one_by_one = q.view(2, shape.heads, 1, shape.size)
    repeated = (each.repeat_interleave(shape.heads // shape.groups, 1) for each in (keys, values))
    expected = torch.nn.functional.scaled_dot_product_attention(one_by_one, *repeated)
    torch.testing.assert_close(mixed.reshape(2, -1), expected.reshape(2, -1))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_counts_the_weights_that_a_stack_holds(shape):
    stack = decoding.Stack(shape)
    held = [each for layer in stack.weights for each in layer] + [stack.ones]
    held += [] if stack.head is None else [stack.head]
    assert sum(each.numel() for each in held) == shape.weights
    assert sum(each.numel() for each in decoding.Stack(shape, 3, 7).caches) == 3 * shape.cache(7)


def test_known_models_have_the_weights_of_their_cards():
    assert decoding.LLAMA_1B.weights == 1_235_814_400  # the table of embeddings is the output layer too
    assert decoding.LLAMA_8B.weights + 128_256 * 4096 == 8_030_261_248
    assert decoding.LLAMA_2_7B.weights + 32_000 * 4096 == 6_738_415_616


def test_the_counter_sees_bytes_and_no_views():
    x = torch.randn(6, 4)
    seen = decoding.counted(lambda: x.view(4, 6)[1:].T * 2)
    assert seen.names == ["mul"]
    assert seen.nbytes == seen.element_wise == 2 * 4 * 18
    seen = decoding.counted(lambda: torch.nn.functional.linear(x, torch.ones(5, 4)))
    assert "mm" in seen.names
    assert seen.nbytes - seen.element_wise == 4 * (24 + 20 + 30)


def test_counted_bytes_of_a_pass_are_those_of_the_formula_and_little_more():
    shape = decoding.Shape(2, 256, 4, 4, 704)
    counted = decoding.counted(decoding.Stack(shape, 1, 16).fused, torch.randn(1, 256))
    assert 1 <= counted.nbytes / shape.nbytes(1, 16, 4) < 1.05


def test_warps_by_nvidias_limits():
    found = [occupancy.resident_warps(occupancy.H100, 256, registers) for registers in (32, 64, 128, 255)]
    assert found == [64, 32, 16, 8]
    assert occupancy.resident_warps(occupancy.H100, 256, 32, shared=100 * 1024) == 16
    assert occupancy.resident_warps(occupancy.H100, 32, 16) == 32  # 32 blocks of one warp


def test_no_simulation_beats_littles_law_or_the_bandwidth():
    chance = random.Random(0)
    for seed in range(30):
        warps, loads = chance.randint(1, 64), chance.randint(1, 16)
        share = occupancy.reached(warps, loads, latency=850, per_load=8.6, seed=seed, rounds=40)
        assert 0 < share <= min(1, warps * loads * 8.6 / 850) * 1.05


@pytest.mark.parametrize("k", [1, 2, 31, 256])
def test_three_convolutions_agree(k):
    x, w = torch.randn(3, 256), torch.randn(k)
    for way in choosing.WAYS.values():
        torch.testing.assert_close(way(x, w), choosing.direct(x, w), rtol=1e-3, atol=1e-3)


def test_a_chooser_measures_each_shape_once_and_takes_the_fastest():
    calls = []

    def way(name, rounds):
        def run(x):
            calls.append(name)
            for _ in range(rounds):
                torch.sort(x)
            return x.sum()

        return run

    choose = choosing.Chooser({"slow": way("slow", 200), "fast": way("fast", 1)}, choosing.shapes, pairs=3)
    x = torch.arange(100.0)
    assert choose(x) == x.sum()
    assert list(choose.chosen.values()) == ["fast"]
    calls.clear()
    choose(x)
    assert calls == ["fast"]
    choose(x[:50])
    assert len(choose.chosen) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_every_way_on_a_gpu_uses_a_share_of_the_bandwidth():
    assert all(share > 0 for share in gpu_decoding.shares(SHAPES[1], 1e12, context=16).values())


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.title) for e in exercises(PAGE)])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict({}, solved=False)
    assert exercise.verdict({}, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in exercises(PAGE)] == list("AB")
