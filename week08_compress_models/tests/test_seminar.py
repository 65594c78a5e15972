"""The seminar's exercises with their printed solutions, and what their checks must not let pass."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from effdl.exercises import exercises
from week08_compress_models import fragile, int8_products, methods, pareto, storage, students, transfer
from week08_compress_models import language_model as lm
from week08_compress_models import seminar_trials as trials

SEMINAR = {e.title[0]: e for e in exercises(Path(__file__).resolve().parent.parent / "seminar.md")}


def names():
    sizes = {"a": 1, "b": 2}

    class Passes:
        def median(self, name):
            return {"a": 2.0, "b": 1.0}[name]

    return {
        "torch": torch,
        "np": np,
        "functools": functools,
        "lm": lm,
        "fragile": fragile,
        "int8_products": int8_products,
        "methods": methods,
        "students": students,
        "transfer": transfer,
        "trials": trials,
        "teachers": {0: lm.load(0)},
        "sizes": sizes,
        "rows": sizes,
        "path": {"a": "a", "b": "b"},
        "passes": Passes(),
        "more": {"a": (0.1,), "b": (0.1,)},
    }


def test_no_exercise_of_the_seminar_was_overlooked():
    assert list(SEMINAR)[:8] == list("ABCDEFGH")
    assert all(SEMINAR[letter].cell and SEMINAR[letter].solution for letter in "ABCDEFGH")


@pytest.mark.parametrize("letter", "ABCDEFGH")
def test_printed_solution_passes_its_check_and_the_stub_does_not(letter):
    if letter == "F" and int8_products.triton is None:
        pytest.skip(f"needs {int8_products.NEEDS_TRITON}")
    given = names()
    if letter == "F":
        import triton.language as tl

        given["tl"] = tl
    assert not SEMINAR[letter].verdict(given, solved=False)
    assert SEMINAR[letter].verdict(given, solved=True)


def test_a_mean_over_classes_does_not_pass_for_the_divergence():
    def careless(student, teacher, targets, temperature, share):
        F = torch.nn.functional
        soft = F.kl_div(
            F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1), reduction="mean"
        )
        return share * temperature**2 * soft + (1 - share) * F.cross_entropy(student, targets)

    right = trials.lesson(students.distillation_loss)(3.0, 1.0)
    found = trials.lesson(careless)(3.0, 1.0)
    assert right[0] > 100 * found[0]


def test_packing_with_the_highest_bit_first_does_not_pass():
    def careless(codes, bits):
        planes = (codes.flatten().numpy()[:, None] >> np.arange(bits)) & 1
        return np.packbits(planes.astype(np.uint8).ravel())

    assert trials.packed(careless)(3, 32) == (180, False)


def test_a_byte_for_each_number_does_not_pass_as_three_bits():
    assert trials.packed(lambda codes, bits: codes.flatten().numpy().astype(np.uint8))(3, 32) == (480, False)


def test_one_step_for_all_rows_does_not_pass_for_one_for_each():
    def careless(x, weight, weight_steps):
        step = x.abs().max() / 127
        return (x / step).round() @ weight.float().t() * step * weight_steps.t()

    right = trials.product(int8_products.linear)("one layer")
    assert abs(trials.product(careless)("one layer")[0] - right[0]) > 0.01 * right[0]


@pytest.mark.skipif(int8_products.triton is None, reason=f"needs {int8_products.NEEDS_TRITON}")
def test_a_kernel_that_fills_its_tiles_with_ones_does_not_pass():
    given = {"tl": int8_products.tl}
    exec(SEMINAR["F"].solution.replace("other=0", "other=1"), given)
    careless = trials.interpreted(given["kernel_of_mine"])
    assert careless(32, 32, 32) == 0
    assert careless(50, 33, 70) > 1000


def test_features_that_count_the_padding_do_not_pass():
    def careless(model, tokens):
        with torch.no_grad():
            return torch.cat([x.mean(1) for x in transfer.states(model, tokens)], 1)

    right = trials.described(transfer.features)(5)
    assert not torch.allclose(trials.described(careless)(5), right, rtol=1e-2)


def test_an_attack_downhill_or_beyond_the_pixels_does_not_pass():
    def downhill(net, images, labels, size):
        return (2 * images - fragile.fgsm(net, images, labels, size)).clamp(0, 1)

    def beyond(net, images, labels, size):
        return images + size * (fragile.fgsm(net, images, labels, size) - images).sign()

    right = trials.attacked(fragile.fgsm)(0, 0.1)
    assert trials.attacked(downhill)(0, 0.1)[0] > right[0] + 0.3
    assert not trials.attacked(beyond)(0, 0.3)[1]


def test_front_keeps_what_nothing_beats_and_equal_points():
    assert pareto.front([(1, 2), (1, 2), (2, 2), (2, 1)]) == [0, 1, 3]
    assert pareto.dominated_by([(1, 2), (2, 2)]) == [None, 0]


def test_every_form_comes_back_from_its_file(tmp_path):
    model = lm.LanguageModel(students.STUDENT, seed=3)
    forms = methods.every(model, lambda w: storage.on_grid(w, methods.Grid(3, 16)))
    names = list(forms)
    weights = {name: layer.weight.detach() for name, layer in lm.linears(model).items()}
    forms[names[0]] = methods.half_of_the_weights(weights[names[0]])
    forms[names[1]] = methods.half_of_the_rank(weights[names[1]])
    forms[names[2]] = storage.Half(weights[names[2]])
    size = storage.write(model, forms, tmp_path / "model.npz")
    assert size == (tmp_path / "model.npz").stat().st_size
    back, found = storage.read(tmp_path / "model.npz", students.STUDENT)
    for name in names:
        assert type(found[name]) is type(forms[name])
        assert torch.equal(lm.linears(back)[name].weight, forms[name].weight())
