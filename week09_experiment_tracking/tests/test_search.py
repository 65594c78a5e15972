"""The table of curves, the searches on it, and their bills."""

import numpy as np
import pytest
import torch

from week09_experiment_tracking import search


def test_an_entry_trained_again_has_the_losses_of_the_table():
    torch.set_num_threads(1)
    setting = (3, 1, 1, 1)
    losses, seconds = search.train(setting, units=9)
    stored = search.table().losses[:, search.SETTINGS.index(setting), :, :5]
    np.testing.assert_allclose(losses, stored, rtol=0.02)
    assert seconds > 0


def test_a_bill_counts_each_unit_once():
    bill = search.Bill(search.table(), 0)
    for units in (3, 9, 3, 9):
        bill.look(5, units)
    assert bill.units == 9
    bill.look(6, 81)
    assert bill.units == 90
    assert bill.seconds > 0


def test_halving_from_81_settings_pays_five_rounds():
    bill = search.Bill(search.table(), 0)
    search.halving(bill.look, range(81), 1)
    assert bill.units == 81 + 27 * 2 + 9 * 6 + 3 * 18 + 54


def test_halving_keeps_a_setting_that_is_best_at_all_times():
    assert search.halving(lambda setting, units=81: abs(setting - 17) + 1 / units, range(81), 1) == 17


def test_halving_loses_a_setting_that_starts_badly():
    def look(setting, units=81):
        return 10.0 if setting == 0 and units < 81 else setting

    assert search.halving(look, range(27), 3) != 0


@pytest.mark.parametrize("name", list(search.METHODS))
def test_every_search_keeps_one_of_the_settings_and_pays(name):
    result = search.repeat(search.METHODS[name], repeats=4)
    assert len(result.losses) == 4
    assert result.units >= 81


def test_a_search_in_a_narrowed_space_stays_in_it():
    among = search.best_quarter()
    bill = search.Bill(search.table(), 0, among)
    assert search.METHODS["halving, 27 from 3"](bill, 0) in among
    assert set(bill.trained) <= set(among)


def test_optimism_of_a_single_draw_is_small_beside_that_of_many():
    found = search.optimism(counts=(1, 64), repeats=100)
    assert found[64][1] / found[64][0] > found[1][1] / found[1][0]
