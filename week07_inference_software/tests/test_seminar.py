"""The seminar's exercises, checked by real servers and a real browser, and what their checks must not let pass."""

import json
from pathlib import Path

import numpy as np
import pytest

from effdl.exercises import exercises

pytest.importorskip("onnxruntime", reason="needs requirements-week07.txt")
from week07_inference_software import digits, kserve, nvidia_triton, openvino_server, repository, web
from week07_inference_software import seminar_trials as trials
from week07_inference_software.figures import seminar as figures

WEEK = Path(__file__).resolve().parent.parent
SEMINAR = {exercise.title[0]: exercise for exercise in exercises(WEEK / "seminar.md")}
BROWSER = pytest.mark.skipif(not web.browser_installed(), reason=f"needs {web.NEEDS_BROWSER}")
SERVERS = [
    pytest.param("openvino", id="OpenVINO"),
    pytest.param("onnxruntime", id="ONNX Runtime"),
    pytest.param(
        "triton",
        id="NVIDIA Triton",
        marks=pytest.mark.skipif(not nvidia_triton.installed(), reason=f"needs {nvidia_triton.NEEDS}"),
    ),
]


@pytest.fixture(scope="module")
def folders():
    return {}


@pytest.fixture(scope="module", params=SERVERS)
def server(request, folders, tmp_path_factory):
    folder = folders["now"] = tmp_path_factory.mktemp("repository")
    repository.write(folder, "alone", repository.config("alone", 16))
    start = nvidia_triton.running if request.param == "triton" else openvino_server.running
    with start(folder) if request.param == "triton" else start(folder, request.param) as where:
        yield where


@pytest.fixture
def folder(server, folders):
    return folders["now"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    web.write_models(made)
    return made


@pytest.fixture(scope="module")
def tab(models):
    with web.site(models) as site, web.tab(site.address) as opened:
        yield opened


def names(**more):
    return {"np": np, "json": json, "trials": trials, "digits": digits, **more}


def test_no_exercise_of_the_seminar_was_overlooked():
    assert list(SEMINAR) == list("ABCDE")
    assert all(exercise.cell and exercise.solution for exercise in SEMINAR.values())


@pytest.mark.parametrize("letter", "ABC")
def test_printed_solution_passes_its_check_on_every_server_and_the_stub_does_not(letter, server, folder):
    given = names(address=server.http, folder=folder)
    assert not SEMINAR[letter].verdict(given, solved=False)
    assert SEMINAR[letter].verdict(given, solved=True)


@BROWSER
@pytest.mark.parametrize("letter", "DE")
def test_printed_solution_passes_its_check_in_the_browser_and_the_stub_does_not(letter, tab, models):
    given = names(tab=tab, web_models=models)
    assert not SEMINAR[letter].verdict(given, solved=False)
    assert SEMINAR[letter].verdict(given, solved=True)


def test_a_request_whose_sizes_lie_is_refused(server):
    def lying(tensors):
        headers, body = kserve.pack("inputs", tensors)
        return {**headers, kserve.LENGTH: str(int(headers[kserve.LENGTH]) - 2)}, body

    with pytest.raises(kserve.Refused):
        trials.request(lying, server.http, "alone")(1)


def test_a_configuration_without_batching_does_not_pass_for_one_with_it(server, folder):
    def without(name, most, delay):
        return repository.config(name, most)

    assert trials.configuration(without, folder, server.http)(4, 1_000_000, 3, 1) == [1, 1, 1]


def test_a_configuration_that_is_no_message_is_refused(server, folder):
    def broken(name, most, delay):
        return "max_batch_size: many"

    with pytest.raises(kserve.Refused):
        trials.configuration(broken, folder, server.http)(4, 1_000_000, 3, 1)


@BROWSER
def test_javascript_that_forgets_that_the_square_sticks_out_does_not_pass(tab):
    solution = {}
    exec(SEMINAR["D"].solution, solution)
    source = solution["prepare_of_mine"]()
    careless = source.replace("x >= 0 && x < width && y >= 0 && y < height && ", "")
    assert careless != source
    kinds = ("two strokes", "wide", "at the edge", "one point", "empty")
    right = [
        np.array_equal(trials.javascript(lambda: careless, tab)(k), digits.prepare(trials.drawing(k)).ravel())
        for k in kinds
    ]
    assert not all(right)


@BROWSER
def test_a_dense_kernel_that_is_only_transposed_does_not_pass(tab, models):
    def careless(weights):
        return {**digits.tfjs_weights(weights), "scores/kernel": weights["7.weight"].T}

    found = trials.weights(careless, tab, models)(6)
    assert np.abs(found - trials.scores(6)).max() > 1


def test_without_a_browser_the_checks_say_what_is_missing(models):
    with pytest.raises(RuntimeError, match="Chromium"):
        trials.javascript(lambda: "", None)("empty")
    with pytest.raises(RuntimeError, match="Chromium"):
        trials.weights(dict, None, models)(1)


def test_figures_draw_a_line_for_each_model_and_a_picture_for_each_drawing():
    loads = [trials.Load(rate, 1.0, 2.0, 1.5, 0, 0.1) for rate in (50, 100)]
    assert len(figures.batching({"a": loads, "b": loads}).axes[0].lines) == 2
    shot = np.zeros((40, 60, 3), np.uint8)
    assert len(figures.page(shot, [(1, 1, np.zeros((8, 8)))] * 3).axes) == 4
