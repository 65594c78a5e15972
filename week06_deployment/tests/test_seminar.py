"""The seminar's exercises in real servers, what their checks must not let pass, and the losses of a restart."""

import asyncio
import io
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effdl.exercises import exercises
from effdl.load import LoadResult
from week06_deployment import proxy, restarts, setups
from week06_deployment import seminar_trials as trials
from week06_deployment.figures import seminar as figures
from week06_deployment.service import pictures
from week06_deployment.service.pictures import Refused

WEEK = Path(__file__).resolve().parent.parent
SEMINAR = exercises(WEEK / "seminar.md")
WITH_CHECK = [pytest.param(exercise, id=exercise.title) for exercise in SEMINAR if exercise.cell]
NAMES = {
    "asyncio": asyncio,
    "io": io,
    "math": math,
    "time": time,
    "np": np,
    "Image": Image,
    "Refused": Refused,
    "trials": trials,
}


@pytest.mark.parametrize("exercise", WITH_CHECK)
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict(NAMES, solved=False)
    assert exercise.verdict(NAMES, solved=True)


def test_no_exercise_of_the_seminar_was_overlooked():
    assert [exercise.title[0] for exercise in SEMINAR] == list("ABCDEF")
    assert len(WITH_CHECK) == 5


def test_a_decoder_that_believes_what_it_is_told_is_found():
    def decode(body, kind, pixels):
        image = Image.open(io.BytesIO(body))
        return np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), np.float32) / 255

    trial = trials.decoder(decode)
    assert trial("a PNG") == 200
    assert trial("a text") == trial("half a PNG") == 500
    assert trial("a JPEG that says it is a PNG") == trial("four million pixels in 4 kB") == 200


def test_a_loop_of_wait_for_alone_is_found():
    async def collect(queue, most, wait):
        batch = [await queue.get()]
        until = time.monotonic() + wait
        while len(batch) < most:
            try:
                batch.append(await asyncio.wait_for(queue.get(), until - time.monotonic()))
            except TimeoutError:
                break
        return batch

    assert len(trials._collected(collect, 5)) == 1


def test_a_drain_that_shuts_the_door_at_once_is_found():
    async def drain(gate, linger, patience):
        gate.stop_accepting()

    trial = trials.drainer(drain)
    assert trial("/readyz, while the door is open") != 503
    assert trial("the idle connection's next request") == trials.NO_ANSWER


def test_a_roll_that_stops_first_is_found():
    async def roll(workers, start, stop):
        for place, old in enumerate(list(workers)):
            await stop(old)
            workers[place] = await start()

    assert trials.roller(roll)("a new one beside both old ones") is False


@pytest.mark.drawn(4)
def test_a_queue_without_a_bound_is_found():
    trial = trials.admitter(lambda waiting, limit, pace: None)
    assert trial("answered of 12") == 12
    assert trial("all with Retry-After") is False


def test_requests_in_the_queue_of_a_closed_socket_are_lost_unless_it_is_held():
    assert restarts.in_the_queue(7) == 0
    assert restarts.in_the_queue(7, held=True) == 7


def test_our_drain_answers_on_every_open_connection():
    with trials.served("--stub", 0) as server:
        assert restarts.on_open_connections(server, fresh=3, used=3) == 6
        assert server.process.wait(20) == 0


@pytest.mark.skipif(proxy.found() is None, reason="nginx is not installed")
def test_nginx_gives_a_post_to_a_second_server_only_where_it_was_told_that_this_is_safe():
    with trials.served("--stub", 0) as good, restarts.reads_and_dies() as bad:
        with proxy.nginx([good.address, bad]) as address:
            assert restarts.through(address, "GET", 6) == 6
            assert restarts.through(address, "POST", 6) == 3
        with proxy.nginx([good.address, bad], "error timeout non_idempotent") as address:
            assert restarts.through(address, "POST", 6) == 6
            assert trials.code(restarts.once(address, body=b"x" * 2**21)) in (413, trials.NO_ANSWER)
        with pytest.raises(ConnectionRefusedError):
            restarts.Connection(address)


def test_without_nginx_the_page_is_told_so(monkeypatch):
    monkeypatch.setattr(proxy, "found", lambda: None)
    with pytest.raises(FileNotFoundError, match="nginx"), proxy.nginx(["http://127.0.0.1:1"]):
        pytest.fail("it started")


def test_a_server_is_ended_when_the_page_fails_in_between():
    def page():
        with trials.served("--stub", 0) as one:
            servers.append(one)
            assert setups.status(one.address) == 200
            raise ZeroDivisionError

    servers = []
    with pytest.raises(ZeroDivisionError):
        page()
    (server,) = servers
    assert server.process.poll() is not None
    assert setups.status(server.address) == 0


def test_a_request_without_an_answer_is_seen_as_lost():
    with restarts.reads_and_dies() as address:
        assert restarts.once(address) is None


def test_the_figure_has_a_panel_for_each_result_even_if_all_of_it_failed():
    times = np.arange(4.0)
    good = LoadResult("open", 4.0, times, times, times + 0.01, np.array([""] * 4, object))
    bad = LoadResult("open", 4.0, times, times, times + 0.01, np.array(["x"] * 4, object))
    figure = figures.over_time({"a": good, "b": bad}, "lost", {"a": 1.0, "b": 1.0})
    assert [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes] == [
        "a: 0 of 4 lost",
        "b: 4 of 4 lost",
    ]


def test_what_was_recorded_lost_nothing():
    ours = json.loads((WEEK / "bench" / "rolling_restart.json").read_text(encoding="utf-8"))["ours"]
    assert ours["failed"] == 0
    assert ours["requests"] >= 100_000
    assert ours["processes"] == ours["workers"] * (1 + ours["restarts"])


def test_a_picture_of_the_trials_is_one_that_the_service_reads():
    assert pictures.decode(restarts.PICTURE, "image/png").shape == (8, 8)
