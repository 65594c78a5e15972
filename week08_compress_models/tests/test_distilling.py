"""A loss whose gradient depends on T, students that differ at the start, a crowd that mixes its networks."""

import pytest
import torch
from torch.nn import functional as F

from week08_compress_models import distilling, small_images
from week08_compress_models.distilling import Crowd


def test_the_soft_loss_is_the_librarys_and_its_gradient_hardly_depends_on_a_large_temperature():
    ours, theirs = torch.randn(6, 10, requires_grad=True), torch.randn(6, 10)
    library = F.kl_div((ours / 3).log_softmax(-1), (theirs / 3).softmax(-1), reduction="batchmean") * 9
    assert distilling.soft_loss(ours, theirs, 3.0).item() == pytest.approx(library.item(), rel=1e-5)
    sizes = [
        torch.autograd.grad(distilling.soft_loss(ours, theirs, t), ours)[0].norm().item()
        for t in (50.0, 500.0)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_soft_targets_of_the_student_itself_leave_it_alone():
    scores = torch.randn(4, 10, requires_grad=True)
    loss = distilling.soft_loss(scores, scores.detach(), 4.0)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(loss, scores)[0].abs().max() < 1e-6


def test_each_network_of_a_crowd_computes_alone():
    crowd, x = Crowd((64, 8, 10), 3), torch.rand(3, 5, 64)
    together = crowd.layers(x)[-1]
    for n in range(3):
        hidden = (x[n] @ crowd.weights[0][n]).relu()
        assert torch.allclose(together[n], hidden @ crowd.weights[1][n], atol=1e-5)


def test_two_ways_begin_with_the_same_weights_and_a_training_repeats():
    one, two = Crowd((64, 8, 10), 2), Crowd((64, 8, 10), 2)
    assert all(torch.equal(a, b) for a, b in zip(one.weights, two.weights, strict=True))
    first = distilling.learn(one, 100, 1.0)
    assert torch.equal(first, distilling.learn(two, 100, 1.0))
    assert first.min() > 20  # chance is 10


def test_maps_have_length_one_and_the_scores_are_the_networks():
    net, x = small_images.made(lambda: small_images.convolutional(8, 8, 8), 0).eval(), torch.rand(5, 1, 8, 8)
    maps, scores = distilling.attention_maps(net, x)
    assert [m.shape[1] for m in maps] == [64, 64, 16]
    assert all(torch.allclose(m.norm(dim=1), torch.ones(5)) for m in maps)
    assert torch.equal(scores, net(x))
