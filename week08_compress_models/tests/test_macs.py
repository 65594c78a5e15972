"""A MAC counted wrongly, for any stride, padding or number of groups; a loop nest that is not the layer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from week08_compress_models import macs


@settings(max_examples=15, deadline=None)
@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 2),
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    size=st.integers(3, 5),
)
def test_hooks_loops_and_pytorch_count_the_same_and_loops_compute_the_layer(
    groups, inputs, outputs, kernel, stride, padding, size
):
    layer = nn.Conv2d(groups * inputs, groups * outputs, kernel, stride, padding, groups=groups)
    x = torch.rand(2, groups * inputs, size, size + 1)
    out, turns = macs.by_loops(layer, x)
    assert turns == macs.count_macs(layer, x) == macs.by_flop_counter(lambda: layer(x))
    assert torch.allclose(out.float(), layer(x), atol=1e-5)


def test_a_chain_counts_its_parts_and_gives_the_same_output():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.rand(1, 1, 4, 4)
    out, turns = macs.brute_force(net, x)
    assert turns == 4 * 2 * 9 + 3 * 8 == macs.count_macs(net, x)
    assert torch.allclose(out.float(), net(x), atol=1e-5)


def test_hooks_are_gone_even_after_an_error():
    net = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(RuntimeError):
        macs.count_macs(net, torch.rand(1, 5))
    assert not net[0]._forward_hooks
