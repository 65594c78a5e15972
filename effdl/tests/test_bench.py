import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl import bench

positive = st.floats(1e-6, 1e3)


def test_rounds_run_abba_so_that_drift_touches_both():
    order = []
    bench.compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, pairs=4, warmup=0)
    assert "".join(order) == "abbaabba"


def test_three_functions_run_forwards_then_backwards():
    order = []
    functions = {name: (lambda name=name: order.append(name)) for name in "abc"}
    bench.compare(functions, pairs=2, warmup=0)
    assert "".join(order) == "abccba"


def test_slow_first_calls_stay_out_of_the_samples(clock):
    calls = []

    def warms_up():
        calls.append(0)
        clock.now += 100.0 if len(calls) <= 2 else 1.0

    assert bench.measure(warms_up, repeats=5, warmup=2).samples == pytest.approx([1.0] * 5)


def test_work_that_is_only_queued_is_timed_too(clock, monkeypatch):
    queue = []

    def synchronize():
        while queue:
            clock.now += queue.pop()

    monkeypatch.setattr(bench, "synchronize", synchronize)
    timing = bench.measure(lambda: queue.append(3.0), repeats=3)
    assert timing.samples == pytest.approx([3.0] * 3)


def test_ratio_survives_a_machine_that_slows_tenfold_half_way(clock):
    done = []

    def work(seconds):
        done.append(0)
        clock.now += seconds * (10 if len(done) > 20 else 1)

    result = bench.compare({"slow": lambda: work(2.0), "fast": lambda: work(1.0)}, pairs=20, warmup=0)
    ratio = result.ratio("slow", "fast")
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert float(ratio) == ratio.value


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_ratio_turned_around_is_the_inverse(pairs):
    a, b = zip(*pairs, strict=True)
    result = bench.Comparison({"a": a, "b": b})
    forth, back = result.ratio("a", "b"), result.ratio("b", "a")
    assert forth.value == pytest.approx(1 / back.value, rel=1e-6)
    assert forth.low <= forth.value * (1 + 1e-9)
    assert forth.value <= forth.high * (1 + 1e-9)


@given(st.lists(positive, min_size=1, max_size=40), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_interval_lies_among_the_samples_and_scales_with_them(samples, factor):
    low, high = bench.bootstrap_interval(samples)
    assert min(samples) <= low * (1 + 1e-12)
    assert low <= high <= max(samples) * (1 + 1e-12)
    scaled = bench.bootstrap_interval([factor * sample for sample in samples])
    assert scaled == pytest.approx((factor * low, factor * high), rel=1e-6)


def test_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        low, high = bench.bootstrap_interval(rng.lognormal(0.0, 0.3, 20))
        hits += low <= 1.0 <= high
    assert hits / 200 > 0.93  # 98 % in the limit; a percentile interval of 20 samples falls a little short


def test_wider_confidence_gives_a_wider_interval():
    samples = np.random.default_rng(0).normal(10, 1, 30)
    narrow = bench.bootstrap_interval(samples, confidence=0.5)
    wide = bench.bootstrap_interval(samples, confidence=0.98)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_min_time_repeats_a_short_call_and_reports_one(clock):
    calls = []

    def short():
        calls.append(0)
        clock.now += 1e-6

    timing = bench.measure(short, repeats=3, warmup=0, min_time=1e-3)
    assert timing.median == pytest.approx(1e-6)
    assert len(calls) >= 3 * 1000


def test_all_functions_get_as_many_calls_a_sample_so_that_overhead_falls_on_all_alike(clock):
    calls = {"short": 0, "long": 0}

    def work(name, seconds):
        calls[name] += 1
        clock.now += seconds

    functions = {"short": lambda: work("short", 1e-6), "long": lambda: work("long", 7e-6)}
    result = bench.compare(functions, pairs=3, warmup=1, min_time=1e-3)
    assert calls["short"] == calls["long"] >= 3 * 1000
    assert result.ratio("long", "short").value == pytest.approx(7)


def test_one_slow_sample_does_not_decide_how_many_calls_there_are(clock):
    calls = []

    def hiccup():
        calls.append(0)
        clock.now += 1.0 if len(calls) == 1 else 1e-6

    bench.compare({"hiccup": hiccup}, pairs=1, warmup=0, min_time=1e-3)
    assert len(calls) > 1000


def test_a_clock_that_stands_still_does_not_stop_the_calibration(clock):
    calls = []

    def below_the_clock():
        calls.append(0)
        clock.now = len(calls) // 1000 * 1e-3

    result = bench.compare({"short": below_the_clock}, pairs=1, warmup=0, min_time=1e-3)
    assert result.median("short") == pytest.approx(1e-6, rel=0.5)


def test_a_round_that_a_move_to_another_core_split_is_measured_again(clock, monkeypatch):
    where = {"core": 0, "moves": 0}
    monkeypatch.setattr(bench, "core", lambda: where["core"])
    order = []

    def work(name):
        order.append(name)
        clock.now += 1.0
        if len(order) in (2, 4):  # within the first round and within its repetition
            where["core"] += 1
            clock.now += 100.0

    samples = bench.compare({name: lambda name=name: work(name) for name in "ab"}, pairs=8, warmup=0)
    assert "".join(order) == "abab" + "abba" * 4
    assert [timing.samples for timing in samples.timings.values()] == [(1.0,) * 8] * 2


def test_a_thread_that_never_rests_on_a_core_is_measured_all_the_same(monkeypatch):
    counter = iter(range(1000))
    monkeypatch.setattr(bench, "core", lambda: next(counter))
    calls = []
    result = bench.compare({"a": lambda: calls.append(0)}, pairs=8, warmup=0)
    assert len(result.timings["a"].samples) == 8
    assert len(calls) == 10


def test_garbage_collection_is_back_after_a_function_that_raises():
    def broken():
        assert not gc.isenabled()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        bench.compare({"broken": broken}, warmup=0)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bench.compare({}), "at least one function"),
        (lambda: bench.compare({"a": int}, pairs=0), "pairs=0"),
        (lambda: bench.bootstrap_interval([]), "at least one sample"),
        (lambda: bench.bootstrap_interval([1.0], confidence=98), "98"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="matmul, add"):
        bench.Comparison({"matmul": [1.0], "add": [1.0]}).median("mul")


def test_table_and_plot_show_every_function():
    result = bench.Comparison({"matmul": [2e-3, 2.1e-3], "add": [1e-3, 1.1e-3]})
    for shown in (str(result.table()), result._repr_html_()):
        assert "matmul" in shown
        assert "add" in shown
        assert "ms" in shown
    axes = result.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["matmul", "add"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([2.05, 1.05])


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 us"), (3e-8, "30 ns")]
)
def test_times_are_shown_in_the_unit_that_suits(seconds, text):
    assert bench.readable(seconds) == text
