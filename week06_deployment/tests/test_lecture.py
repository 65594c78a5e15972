"""Lecture 1: gateways and wires do what the page says; solutions pass their checks, stubs do not; figures draw."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from matplotlib import pyplot as plt

pytest.importorskip("grpc", reason="the packages of requirements-week06.txt are not installed")
pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")

from effdl import load
from effdl.exercises import exercises
from week06_deployment import gateways, locust_peer, needs, tails, wire
from week06_deployment.figures import lecture as figures
from week06_deployment.serving import serving

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"wire": wire, "tails": tails, "np": np}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("AB")


# --- gateways


@pytest.mark.parametrize("server", gateways.SERVERS)
def test_each_server_answers_both_paths_and_nothing_listens_after(server):
    with gateways.running(server) as url:
        sizes = []

        def read(answer, number):
            sizes.append(answer.body)
            return None if answer.status == 200 else str(answer.status)

        for path, body in (("/predict", b"12345"), ("/healthz", None)):
            found = load.open_loop(load.Http(url + path, body, read=read), times=[0.0], timeout=60)
            assert found.failed == 0, found.errors
        assert sizes == [b'{"letters": 5}', b'"well"']
    parts = urlsplit(url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((parts.hostname, parts.port), timeout=5)


def test_a_model_in_the_event_loop_holds_up_the_health_check_and_one_in_a_thread_does_not(monkeypatch):
    names = ("ASGI, model in the event loop", "ASGI, model in a thread")
    monkeypatch.setattr(gateways, "SERVERS", {name: gateways.SERVERS[name] for name in names})
    answered = gateways.health_beside(predictions=10, rounds=1, rest=1.0)
    assert answered[names[0]][1] > 0.4  # ten models of 60 ms stand before it
    assert answered[names[1]][1] < answered[names[0]][1]


# --- the wire


def test_our_messages_are_those_that_protoc_would_make_and_both_ways_carry_all_pixels():
    pixels = np.float32([[0.5, 1.5], [2.5, 3.5]])
    data = wire.image_message(pixels).SerializeToString()
    assert data[:6] == b"\x08\x02\x10\x02\x1a\x10"
    assert np.array_equal(np.frombuffer(data[6:], "<f4"), pixels.ravel())
    assert wire.Image.FromString(data).pixels == [0.5, 1.5, 2.5, 3.5]


def test_a_varint_of_several_bytes_is_read_and_its_end_found():
    assert wire.varint(b"\x96\x01\x07", 0) == (150, 2)
    assert wire.varint(b"\x96\x01\x07", 2) == (7, 3)


def test_a_relay_counts_exactly_what_an_http_client_sends():
    first, later, sent = wire.sent_by(wire.http_service, lambda port, n: wire.http_calls(port, b"[1]", n), 3)
    assert first == later == len(sent) / 3
    assert sent.startswith(b"POST /predict HTTP/1.1\r\n")


def test_later_grpc_calls_send_fewer_headers_and_the_same_data():
    message = wire.image_message(np.zeros((1, 4), np.float32))
    _, _, sent = wire.sent_by(wire.grpc_service, lambda port, n: wire.grpc_calls(port, message, n), 4)
    headers = [size for kind, _, size in wire.frames(sent) if kind == "HEADERS"]
    data = [size for kind, _, size in wire.frames(sent) if kind == "DATA" and size]
    assert len(headers) == 4
    assert headers[-1] < headers[0] / 5
    assert data == [5 + message.ByteSize()] * 4
    with pytest.raises(ValueError, match="greeting"):
        wire.frames(b"GET / HTTP/1.1\r\n\r\n")


# --- the peer, and what a page needs


def test_locust_runs_in_a_process_of_its_own_and_its_counts_come_back():
    pytest.importorskip("locust")
    with serving(queue={"kind": "queue", "seconds": 0.0, "workers": 4}) as at:
        said = locust_peer.run(f"{at.url}/queue", 2, 3, 40)
    assert said.failed == 0
    assert 0 < said.count <= 130
    assert 0 < said.quantile(0.5) <= said.quantile(1)


def test_quantiles_of_locusts_histogram():
    said = locust_peer.Reported(10, 0, {2.0: 5, 7.0: 4, 30.0: 1})
    assert [said.quantile(share) for share in (0.5, 0.9, 0.91, 1)] == [0.002, 0.007, 0.03, 0.03]


def test_a_missing_package_is_one_sentence_with_the_remedy():
    needs.needs("json")
    with pytest.raises(needs.Missing, match="needs no_such_package; `make lab WEEK=6`") as caught:
        needs.needs("json", "no_such_package")
    assert caught.value._render_traceback_() == [str(caught.value)]


# --- figures


def test_figures_draw_what_they_are_given():
    times = np.arange(10) / 10
    wrong = np.array(["", "429"] * 5, object)
    result = load.LoadResult(load.OPEN, 1.0, times, times, times + 0.1, wrong)
    quantiles = [0.1] * len(figures.QUANTILES)
    made = [
        figures.stall({"a": result, "b": result}, {"a": quantiles}),
        figures.curve(0.02, {0.3: 0.025, 0.8: 0.06}),
        figures.waits({"few": {"0": 0.1, "adaptive": 0.1}, "many": {"0": 0.1, "adaptive": 0.1}}),
        figures.overload({"a": result, "b": result}, (0.2, 0.5), 0.3),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
