"""Folding and fusing keep the answer, and leave alone what they must."""

import pytest
import torch
from torch import nn

from week07_inference_software import graph_rules, small_nets


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"groups": 2}, {"stride": 2, "padding": 1}, {"dilation": 2}]
)
def test_a_folded_convolution_computes_what_both_did(options):
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(4, 6, 3, **options), nn.BatchNorm2d(6)
    small_nets._train_statistics(nn.Sequential(norm))
    x = torch.randn(2, 4, 9, 9)
    expected = norm.eval()(convolution(x))
    assert torch.allclose(graph_rules.folded(convolution, norm)(x), expected, atol=1e-5)


def test_all_norms_of_the_network_are_folded_and_the_original_is_left_as_it_was():
    net, x = small_nets.residual(), small_nets.images(2)
    before = net(x)
    short = graph_rules.fold_batch_norms(net)
    assert norms(short) == 0
    assert norms(net) == 9
    assert torch.allclose(short(x), before, atol=1e-6)
    assert torch.equal(net(x), before)


class TwoUsers(nn.Module):
    """Someone else wants the convolution's result without the norm."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        small_nets._train_statistics(self)

    def forward(self, x):
        y = self.convolution(x)
        return torch.relu(self.norm(y)) + torch.relu(y)


def test_a_convolution_with_two_users_keeps_norm_and_relu():
    net, x = TwoUsers().eval(), torch.randn(1, 2, 3, 3)
    for rule in (graph_rules.fold_batch_norms, graph_rules.fuse_relus):
        assert torch.equal(rule(net)(x), net(x))
    assert norms(graph_rules.fold_batch_norms(net)) == 1


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="eval"):
        graph_rules.fold_batch_norms(small_nets.residual().train())


@pytest.mark.skipif(not graph_rules.fuses_here(), reason="this build of PyTorch has no oneDNN")
def test_fused_relus_compute_the_same():
    net, x = graph_rules.fold_batch_norms(small_nets.residual()), small_nets.images(3)
    with torch.inference_mode():
        fused = graph_rules.fuse_relus(net)
        assert torch.allclose(fused(x), net(x), atol=1e-6)
    assert graph_rules.counted(fused, x).operations == graph_rules.counted(net, x).operations - 4


def test_bytes_are_those_of_inputs_weights_and_outputs():
    net = nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU())
    counted = graph_rules.counted(net, torch.ones(2, 3))
    assert counted.operations == 2
    assert counted.total == 4 * ((6 + 15 + 10) + (10 + 10))


def test_statistics_are_not_those_of_a_new_norm():
    for module in small_nets.residual().modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean.abs().min() > 0
            assert module.running_var.std() > 0


def test_another_layout_computes_the_same_and_leaves_the_original_as_it_was():
    net, x = small_nets.residual(), small_nets.images(2)
    with torch.inference_mode():
        turned = graph_rules.ChannelsInnermost(net)
        assert torch.allclose(turned(x), net(x), atol=1e-6)
    assert turned.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous()
