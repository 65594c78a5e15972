"""The service's parts: what it refuses, what it batches, what it counts, and what it leaves behind."""

import asyncio
import contextlib
import io
import signal
import socket
import time

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from week06_deployment import handed, restarts, setups
from week06_deployment import seminar_trials as trials
from week06_deployment.service import master, model, pictures
from week06_deployment.service.app import create_app
from week06_deployment.service.batcher import Batcher, Full, Stub, admit, collect
from week06_deployment.service.metrics import Metrics
from week06_deployment.service.pictures import Refused

# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_digit_survives_its_way_through_a_png_to_one_grey_level():
    digit = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    for side in (8, 32, 64):
        assert pictures.decode(pictures.encode(digit, side), "image/png") == pytest.approx(
            digit, abs=0.5 / 255
        )


@pytest.mark.parametrize(
    ("name", "status"), [*zip(list(trials.BAD)[2:7], (415, 400, 400, 400, 422), strict=True)]
)
def test_a_bad_body_is_refused_with_its_own_status(name, status):
    with pytest.raises(Refused) as refused:
        pictures.decode(*trials.BAD[name])
    assert refused.value.status == status


@given(st.binary(max_size=400), st.sampled_from(["image/png", "image/jpeg"]), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_of_a_stranger_raise_anything_but_refused(noise, kind, cut):
    digit = pictures.encode(np.eye(8, dtype=np.float32), kind=kind)
    for body in (noise, digit[:cut] + noise + digit[cut:], digit[:cut] + noise):
        with contextlib.suppress(Refused):
            assert pictures.decode(body, kind).shape == (8, 8)


def test_too_many_pixels_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was unpacked"))
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "PNG")
    with pytest.raises(Refused, match="3000 x 3000 pixels"):
        pictures.decode(file.getvalue(), "image/png")


# --- batcher --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_batch_takes_what_is_there_in_order_and_no_more_than_it_may(items, most):
    async def work():
        queue = asyncio.Queue()
        for item in range(items):
            queue.put_nowait(item)
        taken = []
        while not queue.empty():
            batch = await collect(queue, most, 0.0)
            assert 1 <= len(batch) <= most
            assert len(batch) == most or queue.empty()
            taken += batch
        return taken

    assert asyncio.run(work()) == list(range(items))


def test_every_caller_gets_the_row_of_its_own_image():
    sizes = []

    async def work():
        batcher = Batcher(lambda rows: rows * 2, 4, 0.01, 100, seen=lambda size, seconds: sizes.append(size))
        await batcher.start()
        answers = await asyncio.gather(*(batcher.predict(np.array([i])) for i in range(30)))
        await batcher.close()
        return [int(answer[0]) for answer in answers]

    assert asyncio.run(work()) == [2 * i for i in range(30)]
    assert sum(sizes) == 30
    assert max(sizes) <= 4


def test_a_model_that_raises_is_told_to_its_callers_and_the_next_batch_is_served():
    def run(rows):
        if rows.max() > 5:
            raise ZeroDivisionError
        return rows

    async def work():
        batcher = Batcher(run, 1, 0.0, 100)
        await batcher.start()
        results = await asyncio.gather(
            *(batcher.predict(np.array([i])) for i in (9, 1)), return_exceptions=True
        )
        await batcher.close()
        return results

    bad, good = asyncio.run(work())
    assert isinstance(bad, ZeroDivisionError)
    assert good[0] == 1


def test_a_full_queue_refuses_and_a_caller_who_left_is_not_computed():
    computed = []

    async def work():
        batcher = Batcher(lambda rows: computed.extend(rows[:, 0]) or rows, 8, 0.0, 3)
        waiting = [asyncio.create_task(batcher.predict(np.array([i]))) for i in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batcher.predict(np.array([9]))
        waiting[1].cancel()
        await asyncio.sleep(0)
        await batcher.start()
        await asyncio.gather(waiting[0], waiting[2])
        await batcher.close()

    asyncio.run(work())
    assert computed == [0, 2]


def test_retry_after_is_in_whole_seconds_and_never_zero():
    assert [admit(3, 4, 1.0), admit(4, 4, 0.001), admit(10, 4, 0.71)] == [None, 1, 8]


def test_a_batcher_without_room_is_refused():
    for bad in ({"most": 0}, {"wait": -1.0}, {"limit": 0}):
        with pytest.raises(ValueError, match="give at least"):
            Batcher(Stub(0), **bad)


# --- app ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def client():
    metrics = Metrics()
    with TestClient(create_app(Batcher(Stub(0.0), seen=metrics.batch), metrics)) as one:
        yield one


def test_the_routes_answer_and_the_metrics_count_them_by_route_and_status(client):
    picture, kind = trials.BAD["a PNG"]
    assert (
        client.post("/predict", content=picture, headers={"Content-Type": f"{kind.upper()}; q=1"}).json()[
            "digit"
        ]
        == 0
    )
    assert client.post("/predict", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.get("/healthz").json()["status"] == "alive"
    assert client.get("/readyz").status_code == 200
    assert client.get("/nowhere/at/all").status_code == 404
    text = client.get("/metrics").text
    assert 'http_requests_total{code="200",route="/predict"} 1.0' in text
    assert 'http_requests_total{code="415",route="/predict"} 1.0' in text
    assert 'http_requests_total{code="404",route="none"} 1.0' in text
    assert "batch_images_count 1.0" in text


def test_a_body_without_a_length_is_cut_off_at_the_limit(client):
    chunks = (b"x" * 65536 for _ in range(100))
    assert client.post("/predict", content=chunks, headers={"Content-Type": "image/png"}).status_code == 413


def test_while_draining_readyz_says_503_and_every_answer_closes_its_connection(client):
    client.app.state.shared.draining = True
    for path, status in (("/readyz", 503), ("/healthz", 200), ("/nowhere", 404)):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")


def test_a_service_that_has_not_started_is_not_ready():
    app = create_app(Batcher(Stub(0.0)))
    assert TestClient(app).get("/readyz").status_code == 503  # without `with`, the lifespan has not run


# --- model ----------------------------------------------------------------------------------------------------------


def test_the_model_reads_digits_that_it_has_not_seen_and_a_batch_changes_no_probability():
    images, labels = model.digits()
    unseen = np.arange(len(images)) % model.HELD_OUT == 0
    classify = model.Classifier()
    together = classify(images[unseen])
    assert (together.argmax(1) == labels[unseen]).mean() > 0.9
    alone = np.concatenate([classify(image[None]) for image in images[unseen][:10]])
    assert together[:10] == pytest.approx(alone, abs=1e-4)


# --- master ---------------------------------------------------------------------------------------------------------


def test_a_roll_starts_the_new_worker_before_it_stops_the_old_one():
    events, workers = [], ["a", "b"]

    async def start():
        events.append("start")
        return f"new {len(events)}"

    async def stop(worker):
        events.append(f"stop {worker}")

    asyncio.run(master.roll(workers, start, stop))
    assert events == ["start", "stop a", "start", "stop b"]
    assert workers == ["new 1", "new 3"]


def test_a_new_worker_that_does_not_start_leaves_the_old_ones_alone():
    async def start():
        raise RuntimeError("no")

    async def stop(worker):
        pytest.fail("an old worker was stopped")

    workers = ["a", "b"]
    with pytest.raises(RuntimeError):
        asyncio.run(master.roll(workers, start, stop))
    assert workers == ["a", "b"]


def listening(pids) -> list[int]:
    return [
        one.laddr.port
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.pid in pids
    ]


def test_a_worker_that_dies_is_replaced_and_after_the_end_nothing_listens():
    with setups.ours(2) as (server, _):
        first, second = server.workers()
        psutil.Process(first).kill()
        setups.until(lambda: first not in server.workers() and len(server.workers()) == 2)
        assert second in server.workers()
        setups.until(lambda: setups.status(server.address) == 200)
        everyone = [server.pid, *server.workers()]
        port = int(server.address.rsplit(":", 1)[1])
        assert port in listening(everyone)
    assert not [pid for pid in everyone if psutil.pid_exists(pid)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_workers_leave_when_their_master_is_killed():
    with setups.ours(1) as (server, _):
        workers = server.workers()
        server.process.kill()
        setups.until(lambda: not any(psutil.pid_exists(pid) for pid in workers))


def test_a_server_that_does_not_start_says_what_it_printed():
    with (
        pytest.raises(setups.NotUp, match="No module named"),
        setups.running(setups.module("no_such_module")),
    ):
        pytest.fail("it started")


# --- grpc and the front ---------------------------------------------------------------------------------------------


def test_the_front_passes_on_that_the_inference_service_is_full_or_away():
    with trials.inference("--stub", 1.0, "--most", 1, "--limit", 1, "--wait", 0) as inference:
        command = setups.module(
            "week06_deployment.service", "--inference", inference.address, "--deadline", 5
        )
        with setups.running(command) as front:
            codes = [trials.code(answer) for answer in trials.at_once(front.address, 6)]
            assert set(codes) == {200, 429}
            inference.send(signal.SIGTERM)
            inference.process.wait(20)
            began = time.monotonic()
            assert trials.code(restarts.once(front.address)) in (503, 504)
            assert time.monotonic() - began < 30
            assert trials.code(restarts.once(front.address, "/healthz", None)) == 200


def test_the_grpc_twin_says_what_is_wrong_with_a_picture():
    import grpc

    from week06_deployment.service import rpc

    with trials.inference("--stub", 0) as server, grpc.insecure_channel(server.address) as channel:
        reader = rpc.services.ReaderStub(channel)
        for file, kind in (trials.BAD["a text"], trials.BAD["half a PNG"]):
            with pytest.raises(grpc.RpcError) as error:
                reader.Predict(rpc.messages.Picture(file=file, content_type=kind), timeout=30)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as error:
            reader.Classify(rpc.messages.Pixels(values=b"123"), timeout=30)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


# --- functions of a notebook ----------------------------------------------------------------------------------------


def test_a_function_keeps_its_defaults_and_its_inner_functions_on_the_way_to_a_server():
    def outer(x, factor=3):
        return sum(i * factor for i in range(x)) + math.floor(0.5)  # noqa: F821

    outer.__code__ = outer.__code__.replace(co_freevars=())
    assert handed.unpack(handed.pack(outer=outer))["outer"](4) == 18


def test_a_function_that_leans_on_its_surroundings_is_refused_in_a_sentence():
    secret = 3

    def leaning():
        return secret

    with pytest.raises(ValueError, match="uses secret"):
        handed.pack(leaning=leaning)


def test_a_part_that_is_not_written_says_so_before_a_server_starts():
    def stub(body, kind, pixels):
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        handed.pack(decode=stub)
