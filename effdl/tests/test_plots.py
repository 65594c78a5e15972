"""A roofline puts operations where they belong, and differs without colour."""

import math

import pytest
import torch

from effdl import plots
from effdl.device import Ceilings


def test_an_operation_without_flop_is_named():
    with pytest.raises(ValueError, match="'copy'"):
        plots.roofline([("copy", 0, 8, 1.0)], Ceilings(1e9, 1e9, None, 1))


def test_roofline_puts_a_point_at_its_intensity_and_speed():
    figure = plots.roofline([("matmul", 2e9, 1e7, 0.1)], Ceilings(1e10, 1e11, torch.float32, 2))
    roof, point = figure.axes[0].lines
    assert point.get_xydata().tolist() == [pytest.approx([200.0, 20.0])]
    x, y = roof.get_xdata(), roof.get_ydata()
    assert max(y) == pytest.approx(100.0)
    assert math.isclose(y[0], x[0] * 10.0)


def test_nine_operations_on_a_roofline_differ_without_colour():
    points = [(f"operation {i}", 1e6, 1e6, 1e-3 * (i + 1)) for i in range(9)]
    figure = plots.roofline(points, Ceilings(1e10, 1e11, torch.float32, 1))
    assert len({line.get_marker() for line in figure.axes[0].lines[1:]}) == 9
