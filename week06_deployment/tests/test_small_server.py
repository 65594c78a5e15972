"""The small server answers, queues, refuses and stalls as it is told, and nothing listens after it."""

import contextlib
import http.client
import json
import socket
import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from effdl import load
from week06_deployment import queueing, tails
from week06_deployment.serving import serving

QUEUE = {"kind": "queue", "seconds": 0.02}


def refused(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nothing_listens_and_no_process_is_left_after_the_block_even_if_it_raises():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with contextlib.suppress(KeyError), serving(queue=QUEUE) as at:
        assert not refused(at.url)
        raise KeyError
    assert refused(at.url)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="seconds"), serving(queue={"kind": "queue"}):
        pass


def test_a_queue_serves_one_after_the_other_and_tells_how_long_each_took():
    with serving(queue={**QUEUE, "watched": True}) as at:
        found = load.open_loop(at["queue"], times=[0.0] * 10)
        seen = at.ask("queue/gauge")["seen"]
        served = at.services("queue")
    assert found.failed == 0
    assert len(served) == 10
    assert (served >= 0.02).all()
    assert found.done.max() >= 0.2
    assert np.diff(np.sort(found.done)).min() > 0.01  # one by one
    assert max(number for _, number in seen) <= 10
    # Little's law: what the server counted is what the client timed, but for a busy machine's delays.
    inside = queueing.mean_inside(seen, found.began, found.began + found.done.max())
    assert inside == pytest.approx(found.count / found.done.max() * found.from_send.mean(), rel=0.3)


def test_a_queue_with_room_for_two_takes_three_of_ten_at_once_and_refuses_the_rest():
    with serving(queue={"kind": "queue", "seconds": 0.5, "room": 2}) as at:
        found = load.open_loop(at["queue"], times=[0.0] * 10)
    assert found.errors == {"429": 7}


def test_four_workers_serve_four_at_once():
    with serving(queue={"kind": "queue", "seconds": 0.5, "workers": 4}) as at:
        load.open_loop(at["queue"], times=[0.0] * 4)
        waited = [answer["waited"] for answer in at.said["queue"].values()]
    assert max(waited) < 0.4  # in turn it would be 0.5, 1.0 and 1.5


def test_a_batcher_behind_http_puts_together_what_comes_at_once():
    with serving(batch={"kind": "batch", "start": 0.01, "each": 0, "most": 4, "wait": 5.0}) as at:
        assert load.open_loop(at["batch"], times=[0.0] * 8).failed == 0
        assert at.ask("batch/batches") == {"sizes": [4, 4]}
        assert [answer["batch"] for answer in at.said["batch"].values()] == [4] * 8
    with serving(batch={"kind": "batch", "start": 0.5, "each": 0, "most": 1, "room": 2}) as at:
        assert load.open_loop(at["batch"], times=[0.0] * 5).errors == {"429": 3}


def test_a_stall_stops_the_whole_process_and_a_closed_loop_sends_nothing_meanwhile():
    with serving(stall={"kind": "stall", "seconds": 0.5, "at": [0.1]}) as at:
        found = load.closed_loop(at["stall"], 1, 0.7, rate=100)
    assert found.quantile(1) > 0.3
    assert (found.latencies > 0.3).sum() == 1


def test_connections_are_kept_pipelined_and_closed_when_asked():
    with serving(queue={"kind": "queue", "seconds": 0.0}) as at:
        parts = urlsplit(at.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as raw:
            raw.sendall(
                b"POST /queue HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET /queue HTTP/1.1\r\nConnection: close\r\n\r\n"
            )
            data = b"".join(iter(lambda: raw.recv(4096), b""))
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.request("GET", "/nowhere")
        assert connection.getresponse().status == 404
        connection.close()
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert json.loads(data.rpartition(b"\r\n\r\n")[2])["waited"] >= 0


# --- pages of many answers


def test_a_page_waits_for_all_its_answers_and_a_hedge_sends_a_second_copy_of_late_ones_only():
    slow = {"kind": "sometimes", "fast": 0.0, "slow": 0.6, "share": 0.2, "seed": 3}
    with serving(sometimes=slow) as at:
        page = tails.Pages(f"{at.url}/sometimes", 5)
        found = load.open_loop(page, times=[0.1, 0.2, 0.3, 0.4])
        assert (page.requests, page.copies, found.failed) == (20, 0, 0)
        assert found.quantile(1) >= 0.6
    with serving(sometimes={**slow, "share": 1.0}) as at:
        page = tails.Pages(f"{at.url}/sometimes", 5, hedge=0.05)
        assert load.open_loop(page, times=[0.0]).failed == 0
        assert (page.requests, page.copies) == (5, 5)


def test_a_trial_of_hedging_counts_what_was_sent_and_leaves_no_timer():
    began = time.perf_counter()
    assert tails.trial(lambda ask, after: [ask(), ask()][1].result())([60.0, 0.0], 0.0) == ("answer 2", 2)
    assert time.perf_counter() - began < 30
