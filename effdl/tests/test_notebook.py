import inspect
import io

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from effdl import bench, notebook, plots
from effdl.notebook import Table, caption, check_exercise, show


def test_show_prints_exactly_the_source_that_tests_check(capsys):
    show(bench.measure)
    shown = capsys.readouterr().out
    assert inspect.getsource(bench.measure).rstrip() in shown
    assert "effdl/bench.py" in shown


def test_show_of_something_without_source_says_what_to_pass():
    with pytest.raises(TypeError, match="pass a function, class or module"):
        show(len)


def test_source_with_a_fence_in_it_does_not_end_the_code_block(monkeypatch):
    pages = []
    monkeypatch.setattr(notebook, "publish", lambda text, markdown: pages.append(markdown))
    show(test_source_with_a_fence_in_it_does_not_end_the_code_block)  # its own text holds ```
    assert "````python" in pages[0]


@pytest.mark.parametrize(("text", "alt"), [("", "bars"), ("Times.", " ")])
def test_a_figure_without_caption_or_alternative_text_is_refused(text, alt):
    with pytest.raises(ValueError, match="caption"):
        caption(plt.figure(), text, alt)
    plt.close("all")


def test_outside_jupyter_a_captioned_figure_stays_open_for_the_runner(capsys):
    figure = plt.figure()
    caption(figure, "Times of two kernels.", "two bars")
    assert "Times of two kernels." in capsys.readouterr().out
    assert plt.fignum_exists(figure.number)
    plt.close("all")


def test_a_figure_on_a_page_is_small_and_keeps_its_pixels_and_colours():
    figure, axes = plt.subplots()
    for shift in range(6):
        axes.plot(np.arange(300), np.sin(np.arange(300) / 30 + shift))
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    small = notebook._png(figure)
    plt.close(figure)
    before = np.asarray(Image.open(raw).convert("RGB"), dtype=float)
    after = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), dtype=float)
    assert len(small) < 0.6 * raw.getbuffer().nbytes
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 1.0  # of 255 levels


def test_exercise_shows_yours_beside_the_specification(capsys):
    verdict = check_exercise("Double", lambda x: x * x, [((2,), 4), ((3,), 6)])
    shown = capsys.readouterr().out
    assert not verdict
    assert "Double: 1 of 2 cases right" in shown
    assert any(line.split() == ["3", "9", "6", "✗"] for line in shown.splitlines())


def test_an_exercise_not_yet_written_is_no_traceback(capsys):
    def stub(x):
        raise NotImplementedError("not implemented yet: double")

    assert not check_exercise("Double", stub, [((2,), 4)])
    assert "not written yet" in capsys.readouterr().out


def test_an_exercise_that_raises_shows_the_error_and_goes_on(capsys):
    assert not check_exercise("Inverse", lambda x: 1 / x, [((0,), 1.0), ((2,), 0.5)])
    shown = capsys.readouterr().out
    assert "ZeroDivisionError" in shown
    assert "1 of 2" in shown


def test_an_exercise_that_changes_its_arguments_does_not_change_the_cases():
    cases = [(([3, 1, 2],), [1, 2, 3])]

    def in_place(values):
        values.sort()
        return values

    assert check_exercise("Sort", in_place, cases)
    assert cases[0][0][0] == [3, 1, 2]


@pytest.mark.parametrize(
    ("yours", "specification", "right"),
    [
        (0.1 + 0.2, 0.3, True),
        (0.31, 0.3, False),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), True),
        (torch.tensor([1.0, 2.1]), torch.tensor([1.0, 2.0]), False),
        (torch.tensor([1.0]), torch.tensor([1.0, 1.0]), False),
        ([1.0, 2.0], torch.tensor([1.0, 2.0]), False),
        (np.ones(3), np.ones(3), True),
        (np.ones(3), np.zeros(3), False),
        ((0.1 + 0.2, 1), (0.3, 1), True),
        ((0.3,), (0.3, 1), False),
        ("ring", "ring", True),
        (None, 1.0, False),
    ],
)
def test_results_are_compared_by_value(yours, specification, right):
    assert bool(check_exercise("x", lambda: yours, [((), specification)])) is right


def test_tables_escape_html_and_refuse_ragged_rows():
    assert "&lt;b&gt;" in Table(["<b>"], [["1 < 2"]])._repr_html_()
    with pytest.raises(ValueError, match="cannot hold"):
        Table(["a", "b"], [["only one"]])


def test_no_two_series_differ_by_colour_alone():
    assert len({str(dash) for dash in plots.DASHES}) == len(plots.COLOURS)
    assert len(set(plots.MARKERS)) == len(plots.MARKERS) >= len(plots.COLOURS)
    assert len({style["hatch"] for style in plots.bar_styles(6)}) == 6


def test_frames_become_one_png_that_moves_with_the_colours_of_the_frames():
    white, blue = (255, 255, 255), (0, 114, 178)
    frames = [Image.new("RGB", (20, 10), white) for _ in range(4)]
    for number, frame in enumerate(frames[:3]):
        frame.putpixel((number, 3), blue)
    frames.append(frames[-1])  # a pause
    animated = Image.open(io.BytesIO(notebook._animated_png(frames)))
    assert animated.n_frames == 4
    for number in range(4):
        animated.seek(number)
        shown = animated.convert("RGB")
        assert shown.tobytes() == frames[number].tobytes()
    assert animated.info["duration"] == 1400
