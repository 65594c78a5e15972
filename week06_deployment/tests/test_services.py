"""What `make services` starts of this week really starts, works together, and is gone afterwards."""

import json
import re
import socket

import pytest

pytest.importorskip("fastapi", reason="the packages of requirements-week06.txt are not installed")

from effdl.services import Running
from week06_deployment import monitoring, services


@pytest.mark.alone
def test_the_services_of_the_week_work_together_and_none_is_left(tmp_path):
    listed = {service.name: service for service in services.services(tmp_path)}
    assert list(listed) == ["digits", "digits behind nginx", "prometheus"]
    ports = [int(re.search(r":(\d+)/", service.address)[1]) for service in listed.values()]
    with Running(tmp_path) as running:
        for service in listed.values():
            if not service.missing:
                running.start(service)
        front = listed["digits behind nginx"]
        if not front.missing:
            assert monitoring.get(front.address.replace("/docs", "/readyz"))
        watch = listed["prometheus"]
        if not watch.missing:
            prometheus = monitoring.Prometheus(watch.address.removesuffix("/graph"))
            assert prometheus.wait('up{job="digits"} == 1')
            rules = json.loads(monitoring.get(f"{prometheus.address}/api/v1/rules"))["data"]["groups"][0][
                "rules"
            ]
            assert [rule["name"] for rule in rules] == ["ManyErrors", "Slow", "Gone"]
            assert all(rule["health"] in ("ok", "unknown") for rule in rules)
    for port in ports:
        with pytest.raises(OSError, match=r"refused|111|61"):
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
