"""Programs that a page starts: what fails is named, what is left is killed, and Prometheus answers."""

import psutil
import pytest

from effdl import prometheus


def alive(process):
    """Whether a process runs still; what nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_that_ends_before_it_listens_is_named_at_once():
    with (
        pytest.raises(RuntimeError, match="ended with 3"),
        prometheus.process(["sh", "-c", "exit 3"]) as child,
    ):
        prometheus.port_of(child)


def test_a_program_that_ignores_sigterm_is_killed():
    with prometheus.process(["sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60"]) as child:
        family = prometheus.until(lambda: psutil.Process(child.pid).children(), "its child is there")
        prometheus.stop(child, patience=0.2)
    assert not any(alive(member) for member in family)


@pytest.mark.skipif(not prometheus.installed(), reason="Prometheus is not installed")
def test_prometheus_answers_with_an_alert_and_is_gone_with_its_block():
    rules = 'groups: [{name: all, rules: [{alert: Always, expr: "vector(1)"}]}]'
    with prometheus.prometheus({}, rules, every=0.1) as watch:
        prometheus.until(lambda: watch.alerts() == {"Always": "firing"}, "the alert fires")
        assert watch.value("vector(2)") == 2
        address = watch.address
    with pytest.raises(OSError, match=r"refused|111"):
        prometheus.get(f"{address}/-/ready")
