"""Programs that a page starts: what fails is named, and Prometheus answers."""

import pytest

from effdl import prometheus


def test_a_program_that_ends_before_it_listens_is_named_at_once():
    with (
        pytest.raises(RuntimeError, match="ended with 3"),
        prometheus.process(["sh", "-c", "exit 3"]) as child,
    ):
        prometheus.port_of(child)


@pytest.mark.skipif(not prometheus.installed(), reason="Prometheus is not installed")
def test_prometheus_answers_with_an_alert_and_is_gone_with_its_block():
    rules = 'groups: [{name: all, rules: [{alert: Always, expr: "vector(1)"}]}]'
    with prometheus.prometheus({}, rules, every=0.1) as watch:
        prometheus.until(lambda: watch.alerts() == {"Always": "firing"}, "the alert fires")
        assert watch.value("vector(2)") == 2
        address = watch.address
    with pytest.raises(OSError, match=r"refused|111"):
        prometheus.get(f"{address}/-/ready")
