"""Training and evaluation: what goes wrong without an error."""

import numpy as np
import pytest
import torch

from classifier import data, inference, model, training

PARAMS = {
    "model": {"width": 16, "dropout": 0.3},
    "train": {"seed": 0, "epochs": 1, "batch": 32, "lr": 0.05, "momentum": 0.9},
}
torch.set_num_threads(1)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 17, (70, 64)).astype(np.uint8)


@pytest.fixture
def labels(images):
    return images[:, :10].argmax(1)


@pytest.fixture
def run(images, labels):
    return training.Run(PARAMS, images, labels)


def steps(run, count):
    return [run.step() for _ in range(count)]


def test_accuracy_is_the_same_for_all_batch_sizes(run, images, labels):
    steps(run, 5)
    found = {training.accuracy(run.model, images, labels, batch) for batch in (1, 2, 33, 70)}
    assert len(found) == 1


def test_accuracy_leaves_the_mode_and_the_statistics_alone(run, images, labels):
    steps(run, 2)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    training.accuracy(run.model, images, labels)
    assert run.model.training
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_one_batch_can_be_learnt_by_heart(images, labels):
    options = {**PARAMS, "model": {"width": 64, "dropout": 0.0}}
    run = training.Run(options, images[:6], labels[:6])
    steps(run, 150)
    assert training.accuracy(run.model, images[:6], labels[:6]) == 1


def test_the_first_loss_is_that_of_guessing(run):
    assert abs(steps(run, 1)[0] - np.log(10)) < 0.6


def test_one_seed_gives_one_run(images, labels):
    one, two = (steps(training.Run(PARAMS, images, labels), 8) for _ in range(2))
    assert one == two


def test_a_run_that_is_restored_goes_on_as_if_nothing_had_been(images, labels, tmp_path):
    whole = steps(training.Run(PARAMS, images, labels), 14)
    stopped = training.Run(PARAMS, images, labels)
    first = steps(stopped, 8)
    training.save(stopped, tmp_path / "a.checkpoint")
    resumed = training.Run(PARAMS, images, labels)
    resumed.restore(torch.load(tmp_path / "a.checkpoint", weights_only=True))
    assert first + steps(resumed, 6) == whole


def test_the_exported_network_gives_the_scores_of_the_trained_one(run, images, tmp_path):
    steps(run, 5)
    model.export(run.model, tmp_path / "a.npz")
    run.model.eval()
    with torch.no_grad():
        wanted = run.model(torch.from_numpy(data.scaled(images))).numpy()
    found = inference.Classifier(tmp_path / "a.npz").scores(images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_probabilities_of_an_image_do_not_depend_on_its_neighbours(run, images, tmp_path):
    model.export(run.model, tmp_path / "a.npz")
    served = inference.Classifier(tmp_path / "a.npz")
    np.testing.assert_allclose(served.probabilities(images[:1]), served.probabilities(images)[:1], rtol=1e-5)
