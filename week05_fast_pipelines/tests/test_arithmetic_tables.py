"""The lecture's tables say what the other modules found."""

import pytest
import torch

from effdl.bench import Comparison
from week05_fast_pipelines import arithmetic_tables as tables
from week05_fast_pipelines import number_formats, training_arithmetic
from week05_fast_pipelines.gradients import Gradients


def test_utilisation_is_the_speed_of_the_step_over_that_of_the_product():
    race = Comparison({"float32": [4.0, 4.0], "product": [1.0, 1.0]})
    found = tables.utilisation(race, done=2 * 10**3 * 3, step="float32", peak="product", size=10)
    assert (found.value, found.low, found.high) == pytest.approx((0.75, 0.75, 0.75))


def test_recomputation_raises_hfu_and_leaves_mfu_to_the_time():
    steps = {"float32": [4.0], "float32, checkpointed": [5.0], "bfloat16": [2.0]}
    race = Comparison({**steps, "product": [1.0], "product in bfloat16": [0.5]})
    rows = tables.utilisations(race, model=6_000, repeated=8_000, size=10).rows
    assert [row[3:] for row in rows] == [["0.75", "0.75"], ["0.60", "0.80"], ["0.75", "0.75"]]


def test_errors_of_blocks_are_those_of_each_way():
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    errors, table = tables.blocks(x)
    assert list(errors) == list(tables.BLOCK_WAYS) == [row[0] for row in table.rows]
    assert errors["NVFP4"] == number_formats.noise(x, number_formats.to_nvfp4(x))


def test_the_standards_scale_costs_most_where_targets_share_a_power_of_two_of_tokens():
    p = torch.linspace(0.01, 0.1, 32).repeat(10, 1)
    logits = torch.softmax(torch.randn(10, 32, generator=torch.Generator().manual_seed(0)), 1) * p
    logits[:, 0] = p[:, 0] - 1  # what cross-entropy sends to the target
    gradients = {"512 tokens": (logits / 512).flatten(), "384 tokens": (logits / 384).flatten()}
    rows = tables.shared_scales({**gradients, "ones, cut": torch.ones(40)}).rows
    assert rows[2] == ["ones, cut", "0", "0", "exact"]
    assert float(rows[0][3]) > 3 > 1.01 > float(rows[1][3])


def test_shares_of_6nd_are_those_of_a_count():
    config = tables.Config(50304, 128, 64, heads=1, blocks=1)
    count, parameters = training_arithmetic.counted_without_memory(config, 1)
    assert tables.six_n_d([(64, 1)], [128]) == {"width 64": [6 * parameters * 128 / count]}


def test_tables_of_gradients_have_a_row_for_each_format_and_scale():
    seen = Gradients(torch.tensor([1e-9, 1e-3]), torch.tensor([1e-2, 1.0]))
    assert tables.overflows(seen).rows[1] == ["fp16", "50", "2^26", "2^16"]
    assert [row[0] for row in tables.fates(seen, number_formats.FP16, [0, 4]).rows] == ["2^0", "2^4"]


def test_rounded_examples_are_pytorchs():
    (fp16,) = (row for row in tables.rounded([65519.0, 65520.0]).rows if row[0] == "fp16")
    assert fp16[1:] == ["65504", "inf"]
    assert len(tables.formats().rows) == len(number_formats.FORMATS)
    assert tables.rows_until_arithmetic(training_arithmetic.H100).rows[2][3] == "295"
