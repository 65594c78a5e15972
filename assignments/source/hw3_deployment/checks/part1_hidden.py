"""Hidden checks of part 1: the same properties on other inputs. Never released."""

import contextlib
import json
import runpy
import threading
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from grader.checks import (
    Grpc,
    Http,
    Model,
    StudentError,
    check,
    expect,
    expect_at_most,
    expect_close,
    expect_equal,
)


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part1_public.py"))))


# --- the batcher -------------------------------------------------------------------------------------------------


FREE_AGAIN = "A request waits for ever: who looks again when the model is free?"
AFTER_A_FAILURE = "After a failure nobody gets an answer any more: does the loop that makes batches go on?"
WITH_ROOM = (
    "A request waits for ever: is one that is refused told so, and may others come when there is room again?"
)
NOT_CLOSED = "close() does not return: what does it wait for when all have been answered?"


@check(
    item="batcher",
    points=0.25,
    hint="max_wait counts from the arrival of the oldest request, also where it came while the model was busy. The "
    "model takes one batch at a time.",
    waiting=FREE_AGAIN,
)
def a_busy_model_delays_and_no_more(sub):
    """Requests that come while the model is busy: when it is free, a batch starts at once if it is due."""
    full = sub.rng.integers(3, 6)
    settings = {"max_batch": full, "max_wait": 0.7, "max_queue": 1000}
    cost = [1.0, 0.01]
    # During the first batch: too few, enough, more than enough; some came long ago, some just now.
    arrivals = []
    named = public().items(sub, 200)
    for number, size in enumerate([1, full - 1, full, 2 * full, 3 * full + 1]):
        begin = 1 + 20 * number
        offsets = [0.0] * full + sorted(sub.rng.uniform(0.05, 0.25, (size,)).tolist())
        arrivals += [
            [begin + offset + 0.002 * place, named[len(arrivals) + place]]
            for place, offset in enumerate(offsets)
        ]
        if (
            size < full
        ):  # the last of them comes so late that it has not waited max_wait when the model is free
            arrivals.append([begin + 0.9, named[150 + number]])
    # A second way: only late ones.
    begin = 120.0
    arrivals += [[begin + 0.002 * place, named[160 + place]] for place in range(full)]
    arrivals.append([begin + 0.8, named[180]])
    right = public().right_batches(arrivals, settings, cost)
    public().expect_batches(public().simulate(sub, arrivals, settings, cost), right, FREE_AGAIN)


@check(
    item="batcher",
    points=0.25,
    hint="An exception of the model belongs to every request of its batch and to no other, and a request that was "
    "cancelled has a future that cannot be given an answer any more.",
    waiting=AFTER_A_FAILURE,
)
def failures_stay_in_their_batch(sub):
    """The model fails for two batches, and some requests are cancelled: the others get their answers."""
    full = sub.rng.integers(3, 6)
    settings = {"max_batch": full, "max_wait": 0.2, "max_queue": 100}
    cost = [0.3, 0.0]
    arrivals = public().groups(sub, [full, full, full, full, 2, full, 1], apart=10, gap=0.004)
    failing = [arrivals[full + sub.rng.integers(0, full)][1], arrivals[4 * full][1]]
    # One while its batch runs, and one while it waits, the second of two.
    running, waiting = 3 * full, 4 * full + 1
    cancelled = [[running, arrivals[running][0] + 0.15], [waiting, arrivals[waiting][0] + 0.1]]
    found = public().simulate(sub, arrivals, settings, cost, failing=failing, cancelled=cancelled)
    public().expect_no_standstill(found, AFTER_A_FAILURE)
    missing = arrivals[waiting][1]
    expect(
        all(missing not in one["items"] for one in found["batches"]),
        "a request that was cancelled while it waited is in a batch",
    )
    failed = {item for one in found["batches"] if set(failing) & set(one["items"]) for item in one["items"]}
    for place, ((_, item), outcome) in enumerate(zip(arrivals, found["outcomes"], strict=True)):
        right = "cancelled" if place in (running, waiting) else "ValueError" if item in failed else "answer"
        if right == "answer":
            public().expect_no_error_of_its_own(outcome)
        expect_equal(
            outcome["kind"], right, of="what became of a request"
        )  # which answer is another check's matter


@check(
    item="batcher",
    points=0.125,
    hint="Count the requests that wait, not those that the model has. Refuse at once, and only what is too many.",
    waiting=WITH_ROOM,
)
def the_queue_is_bounded(sub):
    """While the model is busy, max_queue requests wait, and those that come then get Full at once."""
    full, most, more = sub.rng.integers(2, 5), sub.rng.integers(6, 12), sub.rng.integers(2, 6)
    settings = {"max_batch": full, "max_wait": 0.1, "max_queue": most}
    arrivals = public().groups(sub, [full, most + full + more, full], apart=2, gap=0.004)
    arrivals[-full:] = [[when + 100, item] for when, item in arrivals[-full:]]
    found = public().simulate(sub, arrivals, settings, [5.0, 0.0])
    public().expect_no_standstill(found, WITH_ROOM)
    expect(len(found["batches"]) > 0, "the model was never asked")
    # What the first batch lacks waits before the others do: how full it is is another check's matter.
    room = most - (full - len(found["batches"][0]["items"]))
    kinds = [outcome["kind"] for outcome in found["outcomes"]]
    right = ["answer"] * (full + room) + ["Full"] * (most + full + more - room) + ["answer"] * full
    expect_equal(kinds, right, of="what became of the requests")
    for (when, _), outcome in zip(arrivals, found["outcomes"], strict=True):
        if outcome["kind"] == "Full":
            expect_close(outcome["at"], when, atol=1e-6, why="the clock is virtual", of="when it was refused")


@check(
    item="batcher",
    points=0.125,
    hint="close() refuses what comes, sends what waits without max_wait, and returns when the last answer is there.",
    waiting=NOT_CLOSED,
)
def closing_answers_all(sub):
    """close() during a batch, with others waiting; with an idle batcher; with a batch that is not full yet."""
    full = sub.rng.integers(3, 6)
    settings = {"max_batch": full, "max_wait": 50.0, "max_queue": 100}
    cost = [1.0, 0.0]
    behind = sub.rng.integers(1, full)
    for size in (full + behind, behind, 0):
        arrivals = public().groups(sub, [size], apart=1, gap=0.004)
        last = public().between(sub, 2, 3)
        closing = 1.5
        arrivals.append([last, 2000])
        found = public().simulate(sub, arrivals, settings, cost, closing=closing)
        of = f"{size} requests before close()"
        public().expect_no_standstill(found, "A request waits for ever: close() sends what waits, at once.")
        kinds = [outcome["kind"] for outcome in found["outcomes"]]
        expect_equal(
            kinds, ["answer"] * size + ["Closed"], of=f"{of}: what became of them, and of one behind"
        )
        if len(found["closed"]) != 1:
            public().expect_no_lost_task(found)
        expect_equal(len(found["closed"]), 1, of=f"{of}: whether close() returned", hint=NOT_CLOSED)
        end = max([closing, *(outcome["at"] for outcome in found["outcomes"][:size])])
        expect_close(
            found["closed"][0], end, atol=0.1, why="it may look now and then", of=f"{of}: when it did"
        )
        # From then on the model is never idle. How many batches there are is another check's matter.
        before = [one["start"] for one in found["batches"] if one["start"] <= closing]
        after = len(found["batches"]) - len(before)
        busy = max([closing, *(start + cost[0] for start in before)])
        expect_at_most(end, busy + after * cost[0] + 1e-6, of=f"{of}: when the last one was answered")


# --- the service -------------------------------------------------------------------------------------------------


@check(
    item="requests",
    points=0.125,
    hint="True is an int to Python. What comes over a socket may be anything, and no request ends a service.",
)
def odd_requests_are_refused(sub):
    """No HTTP, no UTF-8, a length that is none, pixels that look like numbers, a model that fails."""
    model = public().Detector(sub)
    with public().service(sub, model) as server:
        image, row, column = public().an_image(sub, 9), sub.rng.integers(1, 8), sub.rng.integers(0, 8)

        def post(body, *statuses, of):
            headers = {"Content-Type": "application/json"}
            with public().case(of, "No request ends a connection without an answer."):
                answer = server.http("POST", "/predict", body, headers=headers, timeout=public().TIMEOUT)
            public().expect_status(answer, *statuses, of=of)

        for pixel in (True, 7.0, 1e300, "7", [7]):
            post({"image": public().changed(image, row, column, pixel)}, 422, of=f"a pixel of {pixel}")
        post({"image": [*image[:7], image[7][:5]]}, 422, of="a last row of 5 pixels")
        post(
            {"image": {str(number): line for number, line in enumerate(image)}},
            422,
            of="an object for an image",
        )
        post(b'{"image": "\xff\xfe"}', 400, 422, of="bytes that are no UTF-8")
        post(b"[" * 30_000 + b"]" * 30_000, 400, 422, of="30,000 nested lists")
        expect_status = public().expect_status
        with contextlib.suppress(
            StudentError
        ):  # closed without an answer, or with one that is no HTTP either
            expect_status(public().raw(server, b"hello, is anybody there?\r\n\r\n"), 400, of="no HTTP")
        with public().case("Content-Length: many", "400, and not an exception that ends the connection."):
            answer = public().raw(server, public().head("many"))
        expect_status(answer, 400, of="Content-Length: many")
        with server.connect() as sock:
            public().tell(sock, public().head(500) + b'{"image": [[')  # and off he goes
        failing = public().an_image(sub, 255)
        expect_equal(model.sizes, [], of="batches that the model saw")
        post({"image": failing}, 500, of="an image for which the model fails")
        post({"image": image, "more": 1}, 200, of="a good request after them, with another key")


AND_ON = "After an answer, read the next request of the connection; what a client sends may come in pieces."


@check(
    item="requests",
    points=0.125,
    hint=AND_ON,
)
def a_connection_serves_many(sub):
    """Six requests on one connection, one of them invalid; a request that comes in pieces of a few bytes."""
    model = public().Detector(sub)
    # Made first: the first random tensor imports torch, and no connection is to say nothing for so long.
    several, last, invalid = public().images(sub, 6), public().an_image(sub, 3), sub.rng.integers(1, 5)
    with public().service(sub, model) as server, server.connect() as sock:
        for number, image in enumerate(several):
            body = json.dumps({"image": image[1:] if number == invalid else image}).encode()
            public().tell(sock, public().head(len(body)) + body)
            with public().case(f"request {number + 1} on one connection", AND_ON):
                answer = server.read(sock, method="POST", timeout=public().TIMEOUT)
            status = 422 if number == invalid else 200
            public().expect_status(answer, status, of=f"request {number + 1} on one connection")
        body = json.dumps({"image": last}).encode()
        data, step = public().head(len(body)) + body, sub.rng.integers(20, 40)
        for start in range(0, len(data), step):
            public().tell(sock, data[start : start + step])
            time.sleep(0.005)
        with public().case("a request in pieces", AND_ON):
            answer = server.read(sock, method="POST", timeout=public().TIMEOUT)
        public().expect_status(answer, 200, of="a request in pieces")


@check(
    item="requests",
    points=0.125,
    hint="Listen first, then warm up beside the event loop, then be ready.",
    waiting="Listen first, then warm up: /healthz answers from the beginning.",
)
def ready_when_the_model_is(sub):
    """While the model answers the warm-up, /healthz says 200, /readyz and /predict 503; then all say 200."""
    model = public().Detector(sub)
    # Made first: the patience of the model counts from the warm-up, and the first random tensor imports torch.
    image = public().an_image(sub, sub.rng.integers(1, 200))
    model.go.clear()
    with public().service(sub, model, ready=False) as server:
        replies = server.many(
            [Http("GET", "/healthz"), Http("GET", "/readyz"), public().asks(image)], timeout=public().TIMEOUT
        )
        for reply, status in zip(replies, (200, 503, 503), strict=True):
            of = f"{reply.question.path} during the warm-up"
            public().expect_status(reply.answer, status, of=of)
        expect(not model.out_of_patience, "an answer came only when the model had answered the warm-up")
        expect_equal(model.sizes, [], of="batches besides the warm-up")
        expect_equal([batch.size for batch in model.batches], [1], of="sizes of the batches of the warm-up")
        model.go.set()
        public().wait_until_ready(server)
        answer = server.http(*public().asks(image)[:3], timeout=public().TIMEOUT)
        public().expect_status(answer, 200, of="a prediction after the warm-up")


@check(
    item="metrics",
    points=0.25,
    hint="Count where the answer is known to be 200, and a batch where the model has answered it. The buckets of a "
    "histogram are cumulative.",
)
def metrics_tell_what_happened(sub):
    """Refused and failed requests count nowhere, and app_model_batch_size is what the model saw."""
    model = public().Detector(sub, fixed=0.05)
    full = sub.rng.integers(5, 10)
    with public().service(sub, model, max_batch=full, max_wait=0.2) as server:
        for count in (1, 2, full, full + sub.rng.integers(1, 4)):
            questions = [public().asks(one) for one in public().images(sub, count)]
            for reply in server.many(questions, timeout=public().TIMEOUT):
                public().expect_status(reply.answer, 200, of="a prediction")
        sizes = model.sizes
        before = public().metrics(server).get(public().COUNT)
        for body in (b"{", {"image": []}, {"image": public().an_image(sub, 255)}):
            server.http("POST", "/predict", body, timeout=public().TIMEOUT)
        server.http("GET", "/predict", timeout=public().TIMEOUT)
        found = public().metrics(server)
        of = f"{public().COUNT} after requests that were refused or failed, as before them"
        expect_equal(found.get(public().COUNT), before, of=of)
        name = "app_model_batch_size"
        right = {f"{name}_count": len(sizes), f"{name}_sum": sum(sizes)}
        for bound in (1, 2, 4, 8, 16):
            right[f'{name}_bucket{{le="{bound}"}}'] = sum(size <= bound for size in sizes)
        right[f'{name}_bucket{{le="+Inf"}}'] = len(sizes)
        for sample, value in right.items():
            hint = public().hint_on_missing(sample, found)
            expect(sample in found, f"/metrics has no {sample}", yours=", ".join(found)[:200], hint=hint)
            expect_equal(found[sample], float(value), of=sample)


@check(
    item="load",
    points=0.25,
    hint="The batcher's Full becomes 429, at once, with a header Retry-After in whole seconds.",
)
def too_many_are_told_so(sub):
    """While the model is busy, max_queue requests wait; those that come then get 429 at once, with Retry-After."""
    full, most, more = sub.rng.integers(2, 5), sub.rng.integers(4, 8), sub.rng.integers(2, 6)
    model = public().Detector(sub)
    first, second = public().images(sub, full), public().images(sub, most + more)
    with public().service(sub, model, max_batch=max(full, most), max_wait=0.1, max_queue=most) as server:
        model.go.clear()
        before = server.load([public().asks(image) for image in first], timeout=public().TIMEOUT)
        model.wait(1)
        time.sleep(0.2)  # whoever came too late for the first batch
        left = full - model.sizes[0] if model.sizes else 0
        waiting = server.load([public().asks(image) for image in second[:most]], timeout=public().TIMEOUT)
        time.sleep(0.3)
        # Where the machine is so busy that some of these are earlier, they wait, and others get their 429.
        last = server.many([public().asks(image) for image in second[most:]], timeout=public().TIMEOUT)
        model.go.set()
        replies = [*waiting.replies(), *last]
        refused = [reply for reply in replies if reply.answer.status == 429]
        expect_equal(
            len(refused), more + left, of=f"answers 429 to {most + more} requests, of which {most} may wait"
        )
        for reply in refused:
            after = reply.answer.headers.get("retry-after", "")
            expect(
                after.isdecimal() and 0 < float(after) < 1e6,
                "a 429 has no Retry-After in whole seconds",
                yours=after,
            )
        for reply in [*before.replies(), *(reply for reply in replies if reply not in refused)]:
            public().expect_status(reply.answer, 200, of="a request that was not refused")


@check(
    item="load",
    points=0.125,
    hint="A connection that says nothing must not keep the others waiting: a task or a thread for each.",
    waiting="Connections that say half a request keep the others waiting: a task or a thread for each.",
)
def slow_clients_block_nobody(sub):
    """60 connections that say nothing, or half a request: others are answered; and so are they, once they go on."""
    model = public().Detector(sub)
    body = json.dumps({"image": public().an_image(sub, 5)}).encode()
    data = public().head(len(body)) + body
    questions = [public().asks(one) for one in public().images(sub, 10)]
    with public().service(sub, model) as server, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(60)]
        parts = [0, 7, len(data) - len(body), len(data) - 3]
        for number, sock in enumerate(slow):
            public().tell(sock, data[: parts[number % 4]])
        for reply in server.many(questions, timeout=public().TIMEOUT):
            public().expect_status(reply.answer, 200, of="a request beside 60 half ones")
        for number in range(4):
            public().tell(slow[number], data[parts[number] :])
            with public().case(
                "a slow request, once it is whole", "A slow client may take his time: go on reading."
            ):
                answer = server.read(slow[number], method="POST", timeout=public().TIMEOUT)
            public().expect_status(answer, 200, of="a slow request, once it is whole")


@check(
    item="load",
    points=0.125,
    hint="The model blocks whoever calls it. Call it in a thread (asyncio.to_thread), and the event loop goes on.",
)
def a_busy_model_blocks_nobody(sub):
    """While the model works, /healthz, /readyz, /metrics and a refusal do not wait for it."""
    model = public().Detector(sub)
    image = public().an_image(sub, sub.rng.integers(1, 200))
    with public().service(sub, model) as server:
        model.go.clear()
        load = server.load([public().asks(image)], timeout=public().TIMEOUT)
        model.wait(1)
        questions = [Http("GET", path) for path in ("/healthz", "/readyz", "/metrics")]
        questions.append(Http("POST", "/predict", {"image": []}))
        model.first()  # else nothing is busy
        for reply, status in zip(
            server.many(questions, timeout=public().TIMEOUT), (200, 200, 200, 422), strict=True
        ):
            public().expect_status(reply.answer, status, of=f"{reply.question.path} while the model works")
        expect(not model.out_of_patience, "an answer came only when the model had answered its batch")
        model.go.set()
        public().expect_status(load.replies()[0].answer, 200, of="a prediction meanwhile")


@check(
    item="load",
    points=0.25,
    wall=120,
    hint="Between a request and its answer stand the batcher and the model. What else waits there? A lock around "
    "all of it, a sleep between two looks, requests that nobody collects while the model works.",
)
def throughput_is_that_of_the_model(sub):
    """24 requests at once, batches of 8, 20 ms for a batch: at least 0.4 times the throughput of a plain service."""
    settings = {"max_batch": 8, "max_wait": 0.02, "max_queue": 100}
    secret = sub.rng.integers(0, 1 << 62)

    def model():
        # Else a service that has been asked before knows what the model would say.
        name = public().name_of
        return Model(lambda batch: [[name(image, secret)] for image in batch], fixed=0.02)

    def inputs():
        return [public().asks(image) for image in public().images(sub, 24)]

    pairs = []

    def verify(mine, right):
        pairs.append(len(mine))
        # The first four pairs are not timed: a service may say that it is not ready yet.
        early = {503} if len(pairs) < 4 else set()
        statuses = sorted({one.status for one in mine} - early)
        right_ones = statuses == [200] or (bool(early) and not statuses)
        expect(right_ones, "24 at once: not all are answered with 200", yours=statuses)
        for one, spec in zip(mine, right, strict=True):
            if one.status == 200:
                expect_equal(one.json(), spec.json(), of="the answer to one of 24 at once")

    sub.compare_servers(
        "service:serve",
        inputs,
        against="part1_plain_hidden:serve",
        threshold=0.4,
        verify=verify,
        kwargs=settings,
        model=model,
        warmup=4,
        cpus=2,
    )


@check(
    item="shutdown",
    points=0.25,
    hint="Which connection is idle, which is answering? Close the former, and wait for the latter.",
)
def clients_do_not_hold_it_up(sub):
    """SIGTERM under load, with idle and half-open connections: nothing accepted is lost, and it ends all the same."""
    model = public().Detector(sub, fixed=0.01)
    rate, until = sub.rng.integers(80, 120), public().between(sub, 0.5, 1)
    body = json.dumps({"image": public().an_image(sub, 5)}).encode()
    questions = [public().asks(image) for image in public().images(sub, int(1.5 * rate))]
    with public().service(sub, model, max_batch=8, max_wait=0.01) as server, contextlib.ExitStack() as stack:
        idle, half, _silent = (stack.enter_context(server.connect()) for _ in range(3))
        public().tell(idle, public().head(len(body)) + body)
        public().expect_status(
            server.read(idle, method="POST", timeout=public().TIMEOUT), 200, of="a prediction"
        )
        public().tell(half, public().head(len(body))[:40])
        load = server.load(questions, at=rate, timeout=public().TIMEOUT)
        time.sleep(until)
        ended, replies = public().drained(sub, server, load)
    for reply in replies:
        # What was sent in the last moments before SIGTERM may not have been accepted yet.
        if reply.intended < ended.asked - 0.4:
            expect(
                not reply.error,
                "a request sent 0.4 s before SIGTERM or earlier got no answer",
                yours=reply.error,
            )
            public().expect_status(reply.answer, 200, of="a request sent 0.4 s before SIGTERM or earlier")
        elif not reply.error:
            public().expect_status(reply.answer, 200, 503, of="a request around SIGTERM")
    if ended.survivors is not None:
        expect_equal(ended.survivors, 0, of="processes left behind")


# --- gRPC ---------------------------------------------------------------------------------------------------------


@check(
    item="grpc",
    points=0.25,
    hint="context.abort with INVALID_ARGUMENT, RESOURCE_EXHAUSTED, INTERNAL; after SIGTERM, stop() with a grace, and "
    "the batcher closed meanwhile.",
)
def grpc_says_what_is_wrong(sub):
    """Not 64 bytes: 3. The model fails: 13. Too many: 8. Unknown method: 12. SIGTERM loses nothing."""
    model = public().Detector(sub)
    full, most, more = 3, sub.rng.integers(3, 6), sub.rng.integers(2, 4)
    timeout = public().TIMEOUT
    several = public().images(sub, full + most + more)
    calls = [Grpc(public().DETECT, public().message(one)) for one in several]
    with public().grpc_service(sub, model, max_batch=full, max_wait=0.1, max_queue=most) as server:

        def expect_code(answer, code, of):
            why = f"{of}: the status is {answer.status}, not {code}"
            expect(answer.status == code, why, yours=answer.details or str(answer.status), spec=str(code))

        image = public().an_image(sub, 9)
        short = bytes([8 * 1 + 2, 9]) + bytes(9)
        expect_code(server.grpc(public().DETECT, short, timeout=timeout), 3, "9 bytes for an image")
        expect_code(server.grpc(public().DETECT, b"", timeout=timeout), 3, "an empty message")
        expect_equal(model.sizes, [], of="batches that the model saw")
        unknown = server.grpc("inference.InstanceDetector/Forget", public().message(image), timeout=timeout)
        expect_code(unknown, 12, "a method that is not there")
        failing = public().an_image(sub, 255)
        expect_code(
            server.grpc(public().DETECT, public().message(failing), timeout=timeout), 13, "the model fails"
        )
        model.seen.clear()
        more_fields = public().message(image) + bytes([8 * 5 + 0, 7])
        expect_code(
            server.grpc(public().DETECT, more_fields, timeout=timeout), 0, "a message with a new field"
        )
        model.seen.clear()
        model.go.clear()
        load = server.load(calls[:full], timeout=timeout)
        model.wait(1)
        rest = server.load(calls[full:], timeout=timeout)
        time.sleep(0.4)
        threading.Timer(0.5, model.go.set).start()
        ended, first = public().drained(sub, server, load)
        replies = first + rest.replies()
    codes = [reply.answer.status for reply in replies]
    expect_equal(codes.count(8), more, of=f"calls of {most + more} that get 8, where {most} may wait")
    for reply in replies:
        if reply.answer.status != 8:
            expect_code(reply.answer, 0, "a call that was accepted before SIGTERM")
    public().expect_clean_end(ended)


# --- fair queueing ------------------------------------------------------------------------------------------------


@check(
    item="fair",
    points=0.5,
    hint="Give each client a clock that goes 1 / weight further with each turn. Who comes back after a pause begins "
    "at the time that it is by now, with nothing saved, and not behind everybody. A client of weight 8 does not get "
    "eight turns in a row.",
)
def weights_are_shares_and_pauses_save_nothing(sub):
    """Weights from 1 to 8, clients that come, go and come back, at random."""
    for _ in range(3):
        names = [f"client {number}" for number in range(sub.rng.integers(3, 7))]
        weights = {name: sub.rng.integers(1, 9) for name in names[1:]}
        steps, number = [], 0
        for _ in range(60):
            name = names[sub.rng.integers(0, len(names))]
            steps += [(name, number + more) for more in range(sub.rng.integers(1, 30))]
            number = len(steps)
            steps += [None] * sub.rng.integers(0, 28)
        public().expect_fair(sub, weights, steps + [None] * 10, plain=False)
