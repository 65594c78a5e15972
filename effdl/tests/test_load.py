"""The load generator counts every request, from the moment at which it was meant to be sent."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effdl import load

TIMES = st.lists(st.floats(1e-6, 3000, allow_nan=False), min_size=1, max_size=200)


# --- quantiles


@given(TIMES, st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_off_by_at_most_a_thousandth_and_a_microsecond(
    times: list[float], share: float
) -> None:
    exact = sorted(times)[max(int(np.ceil(share * len(times) - 1e-9)), 1) - 1]
    assert load.Histogram(times).quantile(share) == pytest.approx(exact, rel=1e-3, abs=1.01e-6)


@given(TIMES, TIMES)
def test_the_sum_of_two_histograms_is_that_of_all_times(some: list[float], others: list[float]) -> None:
    added = load.Histogram(some) + load.Histogram(others)
    assert np.array_equal(added.counts, load.Histogram([*some, *others]).counts)


@given(st.integers(1, 3_000_000_000))
def test_the_buckets_are_those_of_hdrhistogram_to_the_microsecond(us: int) -> None:
    # Its buckets, not its quantiles and correction: this port rounds ranks where Java's rounds up, and adds requests
    # that would have waited less than the interval.
    peer = pytest.importorskip("hdrh.histogram").HdrHistogram(1, 3_600_000_000, 3)
    assert round(1e6 * load.Histogram([us / 1e6]).quantile(1)) == peer.get_highest_equivalent_value(us)


def test_the_correction_adds_what_a_client_left_out_while_it_waited() -> None:
    # It meant to send every 100 ms and waited for a second: nine more would have waited 0.9, 0.8 ... 0.1 s.
    corrected = load.Histogram([1.0]).corrected(0.1)
    assert corrected.count == 10
    assert corrected.quantile(0.5) == pytest.approx(0.5, rel=1e-3)
    assert load.Histogram([0.05] * 3).corrected(0.1).count == 3


def test_an_empty_histogram_has_no_quantile_and_bad_times_are_refused() -> None:
    assert np.isnan(load.Histogram().quantile(0.5))
    for bad in ([-1e-3], [float("nan")]):
        with pytest.raises(ValueError, match="from zero on"):
            load.Histogram(bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        load.Histogram([1.0]).quantile(99)
    with pytest.raises(ValueError, match="longer than zero"):
        load.Histogram([1.0]).corrected(0)


# --- results


def result(*, late: float = 0.0) -> load.LoadResult:
    """Ten requests, one every 0.1 s; the third fails; each is answered 0.2 s after it was sent."""
    intended = np.arange(10) / 10
    wrong = np.array([""] * 10, object)
    wrong[2] = "503"
    return load.LoadResult(load.OPEN, 1.0, intended, intended + late, intended + late + 0.2, wrong)


def test_latency_counts_from_the_intended_send_and_the_other_one_is_there_too() -> None:
    found = result(late=0.5)
    assert found.quantile(0.5) == pytest.approx(0.7, rel=1e-3)
    assert found.quantile(0.5, "sent") == pytest.approx(0.2, rel=1e-3)
    assert found.late(0.5) == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ValueError, match="not 'then'"):
        found.quantile(0.5, "then")


def test_a_failed_request_is_counted_and_its_time_is_no_latency() -> None:
    found = result()
    assert (found.count, found.failed, found.errors, len(found.latencies)) == (10, 1, {"503": 1}, 9)


def test_goodput_counts_good_answers_in_time_only() -> None:
    assert result().goodput(0.25) == 9
    assert result(late=0.5).goodput(0.25) == 0
    assert result().throughput == pytest.approx(9 / 1.1)


def test_a_window_holds_the_requests_meant_to_be_sent_in_it() -> None:
    part = result().between(0.25, 0.75)
    assert (part.count, part.failed, part.seconds, part.rate) == (5, 0, 0.5, 10)
    assert part.intended[0] == pytest.approx(0.05)
    beyond = result().between(5)
    assert (beyond.count, beyond.seconds, beyond.rate, beyond.goodput(1), beyond.throughput) == (
        0,
        0,
        0,
        0,
        0,
    )


def test_a_result_prints_its_counts_and_both_kinds_of_quantile() -> None:
    words = str(result(late=0.5))
    assert "1 failed, 1 x 503" in words
    assert "200." in words
    assert "<table" in result()._repr_html_()


# --- the open loop


def test_a_poisson_schedule_has_its_rate_and_a_seed_gives_it_again() -> None:
    times = load.schedule(100, 100, seed=1)
    assert len(times) == 10_000
    assert np.array_equal(times, load.schedule(100, 100, seed=1))
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)  # an exponential's spread is its mean
    assert np.array_equal(load.schedule(4, 1, "even"), [0, 0.25, 0.5, 0.75])
    for bad in ((0, 1), (1, 0.1), (-1, -5)):
        with pytest.raises(ValueError, match="no request"):
            load.schedule(*bad)
    with pytest.raises(ValueError, match="not 'bursts'"):
        load.schedule(1, 1, "bursts")


def one_at_a_time(stall: float = 0.0, at: float = 0.1) -> tuple[load.Send, list[float]]:
    """A server in this process that answers one request at a time, at once, but stalls once."""
    turn, begun = asyncio.Lock(), []

    async def send(number: int) -> None:
        begun.append(time.perf_counter())
        async with turn:
            if stall and not stalled and time.perf_counter() - begun[0] > at:
                stalled.append(True)
                await asyncio.sleep(stall)

    stalled: list[bool] = []
    return send, begun


def test_an_open_loop_sends_on_while_the_server_stalls_and_a_closed_loop_does_not() -> None:
    slow = {}
    for name in (load.OPEN, load.CLOSED):
        send, _ = one_at_a_time(stall=0.5)
        if name == load.OPEN:
            found = load.open_loop(send, 100, 1, arrivals="even")
        else:
            found = load.closed_loop(send, 2, 1, rate=100)
        slow[name] = int((found.latencies > 0.2).sum())
    assert slow[load.OPEN] >= 25  # 100 a second for the 0.3 s in which a new request waits more than 0.2 s
    assert slow[load.CLOSED] <= 10  # one for each client, and some room for a busy machine


def test_all_requests_are_sent_and_none_before_its_time() -> None:
    send, begun = one_at_a_time()
    found = load.open_loop(send, 300, 0.5, seed=3)
    assert len(begun) == found.count == 150
    assert np.array_equal(found.intended, load.schedule(300, 0.5, seed=3))
    assert (found.sent >= found.intended).all()
    assert (found.done >= found.sent).all()


def test_times_of_ones_own_are_kept_and_bad_ones_refused() -> None:
    send, _ = one_at_a_time()
    assert np.array_equal(load.open_loop(send, times=[0, 0, 0.1]).intended, [0, 0, 0.1])
    for bad in ([], [0.2, 0.1], [-1.0]):
        with pytest.raises(ValueError, match="ascending"):
            load.open_loop(send, times=bad)
    with pytest.raises(ValueError, match="rate= and seconds="):
        load.open_loop(send, 5)


def test_what_goes_wrong_is_named_and_ends_nothing() -> None:
    async def send(number: int) -> str | None:
        if number % 4 == 1:
            raise ConnectionResetError
        if number % 4 == 2:
            await asyncio.sleep(60)
        return "429" if number % 4 == 3 else None

    found = load.open_loop(send, 400, 0.1, arrivals="even", timeout=0.05)
    assert found.count == 40
    assert found.errors == {"ConnectionResetError": 10, load.UNANSWERED: 10, "429": 10}
    assert not np.isnan(found.done).any()


def test_a_timeout_of_the_servers_own_is_not_ours() -> None:
    async def send(number: int) -> None:
        raise TimeoutError

    assert load.open_loop(send, 10, 0.1, timeout=5).errors == {"TimeoutError": 1}


def test_a_stopped_loop_sends_no_more_and_waits_for_what_it_sent() -> None:
    stop = threading.Event()

    async def send(number: int) -> None:
        if number == 9:
            stop.set()
        await asyncio.sleep(0.01)

    found = load.background(load.open_loop, send, 100, 30, arrivals="even", stop=stop).result(20)
    assert 10 <= found.count < 100
    assert found.failed == 0
    assert load.closed_loop(send, 3, 30, stop=stop).count == 0


def test_a_loop_works_where_an_event_loop_already_runs_as_in_a_notebook() -> None:
    async def cell() -> int:
        return load.open_loop(one_at_a_time()[0], 50, 0.1).count

    assert asyncio.run(cell()) == 5


def test_a_sender_that_must_be_opened_is_opened_and_closed_in_the_loop() -> None:
    events = []

    @contextlib.asynccontextmanager
    async def opened():
        events.append(("opened", asyncio.get_running_loop()))

        async def send(number: int) -> None:
            events.append(("sent", asyncio.get_running_loop()))

        yield send
        events.append(("closed", asyncio.get_running_loop()))

    load.open_loop(opened(), 100, 0.02)
    assert [name for name, _ in events] == ["opened", "sent", "sent", "closed"]
    assert len({loop for _, loop in events}) == 1


def test_a_sender_that_cannot_be_opened_is_the_callers_error_and_no_thread_stays() -> None:
    class Broken:
        async def __aenter__(self):
            raise RuntimeError("no service")

        async def __aexit__(self, *_):
            """Never comes so far."""

    with pytest.raises(RuntimeError, match="no service"):
        load.open_loop(Broken(), 10, 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("load", "clock"))]


def test_plans_side_by_side_keep_their_own_times_numbers_and_errors() -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def sender(name: str) -> load.Send:
        async def send(number: int) -> str | None:
            seen[name].append(number)
            return "odd" if number % 2 else None

        return send

    plans = {"a": (sender("a"), [0.0, 0.02, 0.04]), "b": (sender("b"), [0.01, 0.02])}
    found = load.together(plans)
    assert seen == {"a": [0, 1, 2], "b": [0, 1]}
    assert {name: result.intended.tolist() for name, result in found.items()} == {
        name: times for name, (_, times) in plans.items()
    }
    assert {name: result.errors for name, result in found.items()} == {"a": {"odd": 1}, "b": {"odd": 1}}


# --- the closed loop


def test_a_closed_loop_never_has_more_under_way_than_clients() -> None:
    under_way = [0, 0]

    async def send(number: int) -> None:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0.005)
        under_way[0] -= 1

    found = load.closed_loop(send, 3, 0.3)
    assert under_way == [0, 3]
    assert found.count > 3
    assert np.array_equal(found.intended, found.sent)


def test_a_paced_closed_loop_keeps_to_its_rate_and_never_above() -> None:
    send, _ = one_at_a_time()
    assert load.closed_loop(send, 4, 0.5, rate=80).count <= 40
    with pytest.raises(ValueError, match="above zero"):
        load.closed_loop(send, 0, 1)


# --- HTTP


ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Batch: 3\r\n\r\nhello", 200, b"hello"),
    "empty": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "chunks": (
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n",
        503,
        b"hello",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_wherever_the_network_cuts_it(name: str) -> None:
    wire, status, body = ANSWERS[name]
    for cut in range(len(wire)):
        assert load.read_answer(wire[:cut]) is None
    answer = load.read_answer(wire + b"HTTP/1.1 next")
    assert answer is not None
    assert (answer.status, answer.body, answer.wire) == (status, body, len(wire))


def test_without_a_length_the_answer_ends_with_the_connection() -> None:
    wire = b"HTTP/1.0 200 OK\r\n\r\nhello"
    assert load.read_answer(wire) is None
    answer = load.read_answer(wire, ended=True)
    assert answer is not None
    assert answer.body == b"hello"


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 ok\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_an_error_and_not_an_answer(wire: bytes) -> None:
    with pytest.raises(load.HttpError):
        load.read_answer(wire)


class Server:
    """A server of a few lines in a thread: counts connections, and answers as each test wants."""

    def __init__(self, answer: bytes = ANSWERS["length"][0], serve: int = 10**9, delay: float = 0.0):
        self.answer, self.serve, self.delay = answer, serve, delay
        self.connections, self.requests = 0, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/predict?x=1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for _ in range(self.serve):
                request = connection.recv(65536)
                if not request:
                    return
                self.requests.append(request)
                time.sleep(self.delay)
                connection.sendall(self.answer)
                if b"Connection: close" in request:
                    return


@pytest.fixture
def serve() -> Iterator[type[Server]]:
    made = []

    def make(**kwargs) -> Server:
        made.append(Server(**kwargs))
        return made[-1]

    yield make  # type: ignore[misc]
    for server in made:
        server.socket.close()


def test_a_connection_is_used_again_and_closed_at_the_end(serve) -> None:
    server = serve()
    found = load.closed_loop(load.Http(server.url, b"{}"), 1, 0.2)
    assert found.failed == 0
    assert found.count > 1
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /predict?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.requests[0].endswith(b"Content-Length: 2\r\n\r\n{}")
    again = load.open_loop(load.Http(server.url, reuse=False), 100, 0.05)
    assert (again.failed, server.connections) == (0, 6)


def test_two_runs_may_use_the_same_sender(serve) -> None:
    send = load.Http(serve().url)
    assert load.open_loop(send, 100, 0.05).failed == load.open_loop(send, 100, 0.05).failed == 0


def test_a_status_that_is_no_success_is_an_error_under_its_number(serve) -> None:
    assert load.open_loop(load.Http(serve(answer=ANSWERS["chunks"][0]).url), 100, 0.03).errors == {"503": 3}


def test_a_reader_sees_each_answer_and_may_refuse_it(serve) -> None:
    seen = []

    def read(answer: load.Answer, number: int) -> str | None:
        seen.append((number, answer.headers["x-batch"]))
        return "odd" if number % 2 else None

    found = load.open_loop(load.Http(serve().url, read=read), 100, 0.04)
    assert found.errors == {"odd": 2}
    assert sorted(seen) == [(number, "3") for number in range(4)]


def test_a_connection_that_ends_before_its_answer_is_an_error_and_is_not_tried_again(serve) -> None:
    server = serve(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", serve=1)
    assert load.open_loop(load.Http(server.url), 100, 0.03).errors == {"HttpError": 3}
    assert len(server.requests) == 3


def test_nobody_listening_is_an_error_of_each_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert load.open_loop(load.Http(f"http://127.0.0.1:{port}/"), 100, 0.03).errors == {
        "ConnectionRefusedError": 3
    }


def test_a_late_answer_is_never_taken_for_that_of_the_next_request(serve) -> None:
    server = serve(delay=1.5)
    found = load.closed_loop(load.Http(server.url), 1, 0.25, timeout=0.1)
    assert set(found.errors) == {load.UNANSWERED}
    assert (
        server.connections == found.count
    )  # the connection of a request that was given up is not used again


def test_a_body_may_differ_from_request_to_request(serve) -> None:
    server = serve()
    load.open_loop(load.Http(server.url, lambda number: b"x" * number), 100, 0.03, arrivals="even")
    assert sorted(request.partition(b"\r\n\r\n")[2] for request in server.requests) == [b"", b"x", b"xx"]


def test_an_address_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="such as http"):
        load.Http("localhost:8000")


def test_from_a_shell_the_exit_status_says_whether_a_request_failed(serve, capsys) -> None:
    assert load.main([serve().url, "--rate", "100", "--seconds", "0.05"]) == 0
    assert "from the intended send" in capsys.readouterr().out
    assert load.main([serve(answer=ANSWERS["chunks"][0]).url, "--clients", "2", "--seconds", "0.05"]) == 1
    with pytest.raises(SystemExit):
        load.main(["http://127.0.0.1:1/"])
