"""The page: which files are served, and that the browser's numbers are Python's."""

import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest

pytest.importorskip("onnx", reason="needs requirements-week07.txt")
from week07_inference_software import digits, serving, strokes, web
from week07_inference_software import seminar_trials as trials

BROWSER = pytest.mark.skipif(not web.browser_installed(), reason=f"needs {web.NEEDS_BROWSER}")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    web.write_models(made)
    return made


@pytest.fixture(scope="module")
def site(models):
    with web.site(models) as found:
        yield found


@pytest.fixture(scope="module")
def tab(site):
    with web.tab(site.address) as opened:
        yield opened


def status(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    [
        *("/package.json", "/node_modules/onnxruntime-web/package.json", "/../web.py", "/%2e%2e/web.py"),
        *("/models/../../../etc/passwd", "/runtime/", "//etc/passwd", "/runtime/ort.all.min.js"),
    ],
)
def test_a_file_that_the_page_does_not_need_is_not_served(site, path):
    assert status(site.address + path) == 404


def test_page_and_models_are_served_and_counted(site, models):
    site.sent.clear()
    for path in ("/", "/page.mjs", "/models/model.onnx", "/models/tfjs/weights.bin"):
        assert status(site.address + path) == 200
    assert site.sent["/models/model.onnx"] == (models / "model.onnx").stat().st_size


def test_nothing_answers_once_the_site_is_closed(models):
    with web.site(models) as found:
        assert serving.answers(found.address)
    assert not serving.answers(found.address)


@BROWSER
@pytest.mark.parametrize("engine", ["onnx", "tfjs"])
def test_both_engines_of_the_browser_give_pytorchs_scores_to_five_digits(tab, engine):
    images = digits.test_set()[0]
    expected = digits.answers(digits.trained(), images)
    assert np.abs(tab.run(engine, images) - expected).max() <= 1e-5 * np.abs(expected).max()


@BROWSER
@pytest.mark.parametrize("kind", ["two strokes", "wide", "at the edge", "one point", "empty"])
def test_the_page_prepares_a_drawing_as_python_does_bit_by_bit(tab, kind):
    rgba = trials.drawing(kind)
    np.testing.assert_array_equal(tab.prepare(rgba), digits.prepare(rgba).ravel())


@BROWSER
def test_random_ink_is_prepared_alike_in_both_languages(tab):
    rng = np.random.default_rng(3)
    for _ in range(20):
        height, width = rng.integers(1, 70, 2)
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[..., 3] = rng.integers(0, 256, (height, width)) * (rng.random((height, width)) < 0.2)
        np.testing.assert_array_equal(tab.prepare(rgba), digits.prepare(rgba).ravel())


@BROWSER
def test_a_digit_drawn_with_the_mouse_is_read_and_its_pixels_are_those_that_were_drawn(tab):
    answered, pixels = tab.draw(strokes.DIGITS[4])
    assert answered == 4
    assert pixels.shape == (256, 256, 4)
    assert digits.answers(digits.trained(), digits.prepare(pixels)).argmax() == 4


@BROWSER
def test_the_page_writes_no_error_and_fetches_nothing_from_elsewhere(tab, site):
    tab.open()
    tab.script("for (const name of ['onnx', 'tfjs']) await window.lab.run(name, new Array(64).fill(0), 1)")
    entries = tab.script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(entries) > 5
    assert all(name.startswith(site.address) for name in entries)


@BROWSER
def test_an_error_in_the_page_reaches_python_in_words(tab):
    with pytest.raises(RuntimeError, match="no such"):
        tab.script("throw new Error('no such thing')")


@BROWSER
def test_no_browser_is_left_when_a_test_fails(site):
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with pytest.raises(ZeroDivisionError), web.tab(site.address):
        raise ZeroDivisionError
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before
