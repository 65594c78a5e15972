"""A real Prometheus: it sees what is there, answers what page and dashboard ask, and leaves nothing behind."""

import json
import math
import shutil
import subprocess

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("prometheus_client", reason="the packages of requirements-week06.txt are not installed")
pytest.importorskip("fastapi", reason="the packages of requirements-week06.txt are not installed")

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from effdl import load
from week06_deployment import histograms, incident, monitoring

needs_prometheus = pytest.mark.skipif(not monitoring.installed(), reason="Prometheus is not installed")


def own_children():
    return [child.pid for child in psutil.Process().children(recursive=True)]


@pytest.fixture(scope="module")
def watched():
    """A service and an exporter under one Prometheus, after a few answers of each kind."""
    with (
        monitoring.served() as service,
        histograms.exporter() as known,
        monitoring.prometheus(
            {"digits": [service.address], "known": [known.address]}, monitoring.alerting()
        ) as watch,
    ):
        watch.wait('count(up{job=~"digits|known"} == 1) == 2')
        for headers in ({}, {"X-Fault": "1"}):
            send = load.Http(f"{service.url}/predict", body=incident.REQUEST, headers=headers)
            seen = load.open_loop(send, times=[0.05 * k for k in range(20)])
            assert seen.failed == (20 if headers else 0)
        watch.wait('sum(http_requests_total{route="/predict",code="500"}) == 20')
        yield service, known, watch


@needs_prometheus
def test_it_counts_each_answer_by_its_status(watched):
    _, _, watch = watched
    counted = {
        labels["code"]: value for labels, value in watch.query('http_requests_total{route="/predict"}')
    }
    assert counted == {"200": 20, "500": 20}


@needs_prometheus
def test_every_expression_of_the_dashboard_and_of_the_alerts_is_answered(watched):
    _, _, watch = watched
    board = json.loads((monitoring.DEPLOY / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(expressions) == 6
    for expression in expressions:
        found = watch.query(expression)
        assert found, expression
        assert all(math.isfinite(value) for _, value in found), expression


@needs_prometheus
def test_our_quantile_is_prometheus_own(watched):
    _, _, watch = watched
    for name in ("coarse", "fine"):
        found = watch.query(f"sum by (le) ({name}_seconds_bucket)")
        counts = sorted((float(labels["le"]), value) for labels, value in found)
        bounds, values = zip(*counts, strict=True)
        for share in (0.1, 0.5, 0.9, 0.99, 0.9999):
            asked = watch.value(f"histogram_quantile({share}, sum by (le) ({name}_seconds_bucket))")
            assert histograms.quantile(share, bounds, values) == pytest.approx(asked, rel=1e-9)


@needs_prometheus
def test_bad_promql_is_a_sentence_and_no_traceback(watched):
    with pytest.raises(ValueError, match="parse error"):
        watched[2].query("rate(")
    with pytest.raises(ValueError, match="0 series"):
        watched[2].value("there_is_no_such_thing")


@needs_prometheus
def test_nothing_of_service_and_prometheus_is_left_even_if_the_block_fails():
    before = own_children()
    ports = set()

    def fail():
        with monitoring.served() as service, monitoring.prometheus({}) as watch:
            ports.update(int(address.rpartition(":")[2]) for address in (service.address, watch.address))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert own_children() == before
    for port in ports:
        with pytest.raises(OSError, match=r"refused|111"):
            monitoring.get(f"http://127.0.0.1:{port}/")


def test_a_service_answers_refuses_and_hides_its_metrics_labels_from_strangers():
    with monitoring.served() as service:
        send = {size: load.Http(f"{service.url}/predict", body=bytes(size)) for size in (64, 63)}
        seen = {size: load.open_loop(http, times=[0.0]).errors for size, http in send.items()}
        assert seen == {64: {}, 63: {"422": 1}}
        with pytest.raises(OSError, match="404"):
            monitoring.get(f"{service.url}/a/path/of/a/stranger")
        text = monitoring.get(f"{service.url}/metrics").decode()
    assert 'route="other"' in text
    assert "stranger" not in text


@needs_prometheus
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("rules", [None, "shortened"])
def test_promtool_finds_no_fault_in_the_rules(tmp_path, rules):
    path = monitoring.DEPLOY / "alerts.yml"
    if rules:
        path = tmp_path / "rules.yml"
        path.write_text(monitoring.alerting())
        assert "5m]" not in path.read_text()
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- histograms without a server -----------------------------------------------------------------------------------

VALUES = st.lists(st.floats(0.001, 9), min_size=1, max_size=60)


@given(VALUES, st.floats(0.01, 1), st.sampled_from([histograms.DEFAULT, histograms.FINE]))
def test_a_quantile_lies_in_the_bucket_that_holds_it(values, share, bounds):
    bounds = (*bounds, math.inf)
    counts = np.searchsorted(np.sort(values), bounds, side="right").tolist()
    found = histograms.quantile(share, bounds, counts)
    rank = max(math.ceil(share * len(values) - 1e-9), 1)
    truth = sorted(values)[rank - 1]
    bucket = next(k for k, bound in enumerate(bounds) if truth <= bound)
    low = bounds[bucket - 1] if bucket else 0.0
    assert low - 1e-12 <= found <= bounds[bucket] + 1e-12


def test_no_values_have_no_quantile_and_the_last_bucket_has_its_lower_bound():
    assert math.isnan(histograms.quantile(0.5, [1, math.inf], [0, 0]))
    assert histograms.quantile(0.99, [1, 2, math.inf], [0, 1, 10]) == 2


def test_growing_bounds_grow_and_reach_the_end():
    bounds = histograms.growing(0.001, 10, 1.2)
    assert bounds[-1] >= 10 > bounds[-2]
    assert np.diff(np.log(bounds)) == pytest.approx(np.log(1.2), rel=1e-3)


def test_a_label_with_many_values_multiplies_the_series():
    sizes = []
    for users in (1, 100):
        registry = CollectorRegistry()
        histogram = Histogram("x_seconds", "x", ["user"], registry=registry)
        for user in range(users):
            histogram.labels(str(user)).observe(0.1)
        sizes.append(generate_latest(registry).decode().count("\nx_seconds_bucket{"))
    assert sizes == [15, 1500]
