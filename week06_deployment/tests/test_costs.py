"""Prices have a day and a source; the calculator adds up; interruptions played agree with the formulas."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week06_deployment import costs


def test_each_price_has_a_day_and_a_page_and_no_key_is_twice_there():
    found = costs.prices()
    assert len(found) == len(costs.PRICES.read_text().strip().splitlines()) - 1
    assert all(date.fromisoformat(price.read) <= date.today() for price in found.values())


def test_a_price_without_a_source_is_refused(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("key,what,usd,per,read,source\nx,X,1,hour,2026-01-01,somebody said so\n")
    with pytest.raises(ValueError, match="source"):
        costs.prices(path)


def test_a_bill_by_hand():
    bill = costs.per_million(hourly=0.36, rate=100, utilisation=0.5, answer_bytes=1000, load=25)
    assert bill.machines == pytest.approx(2.0)  # 20,000 s of a machine
    assert bill.network == pytest.approx(0.09)  # one GB
    assert bill.balancer == pytest.approx(1e6 / 25 / 3600 * (0.0225 + 0.008))
    assert bill.total == pytest.approx(bill.machines + bill.network + bill.balancer)


@pytest.mark.parametrize("wrong", [{"utilisation": 0}, {"utilisation": 1.2}, {"rate": 0}, {"load": 0}])
def test_a_bill_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="above zero"):
        costs.per_million(
            **({"hourly": 1, "rate": 1, "utilisation": 0.5, "answer_bytes": 1, "load": 1} | wrong)
        )


@given(st.floats(0.05, 1), st.floats(1, 1e6))
def test_half_the_utilisation_doubles_the_machines_and_nothing_else(utilisation, size):
    full = costs.per_million(1, 100, utilisation, size, 10)
    half = costs.per_million(1, 100, utilisation / 2, size, 10)
    assert half.machines == pytest.approx(2 * full.machines)
    assert (half.network, half.balancer) == (full.network, full.balancer)


@pytest.mark.parametrize(("every", "save", "restart"), [(2, 1, 0.25), (8, 1, 0.25), (4, 0.5, 1)])
def test_a_job_played_takes_what_dalys_formula_says(every, save, restart):
    played = costs.simulated_stretch(24, every, save, restart, seed=3, runs=2000)
    error = played.std() / np.sqrt(len(played))
    assert abs(played.mean() - costs.stretch(24, every, save, restart)) < 4.5 * error


def test_the_best_distance_between_checkpoints_beats_half_and_double():
    best = costs.best_save(every=8, saving=0.05)
    taken = [costs.stretch(24, 8, save, 0.25, 0.05) for save in (best / 2, best, best * 2)]
    assert taken[1] == min(taken)


def test_machines_that_fail_alone_agree_with_the_formula_and_together_they_are_worse():
    fleet = costs.Fleet(kept=2, spot=6, need=7)
    formula = fleet.short(every=8, notice=0, replace=0.5)
    alone = fleet.simulated(8, 0, 0.5, together=0, seed=1, hours=40_000)
    assert alone == pytest.approx(formula, rel=0.15)
    assert fleet.simulated(8, 0, 0.5, together=0.2, seed=1, hours=40_000) != alone


def test_a_warning_longer_than_the_replacement_leaves_no_gap():
    assert costs.Fleet(0, 10, 10).short(every=8, notice=0.2, replace=0.1) == 0
    assert costs.Fleet(0, 10, 10).simulated(8, 0.2, 0.1, 0.2, seed=0, hours=1000) == 0


def test_a_pool_that_goes_at_once_is_too_small_for_as_long_as_it_is_gone():
    share = costs.Fleet(0, 10, 8).simulated(8, 0, 0.5, together=1, seed=2, hours=40_000)
    assert share == pytest.approx(0.5 / 8.5, rel=0.1)
