"""Public checks of part 1. The hidden ones call the same procedures with other inputs."""

import contextlib
import hashlib
import json
import math
import re
import threading
import time

from grader.checks import (
    Failed,
    Grpc,
    Http,
    Model,
    StudentError,
    check,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
)

# Seconds for one run, only to end what hangs; longer where the machine is slow. An honest one takes under one second.
WALL = 20


# --- the batcher -------------------------------------------------------------------------------------------------


def simulate(sub, arrivals, settings, cost, **events):
    """Return what the driver's simulation gave, after a look at its form."""
    found = sub.call("driver:simulate", arrivals, settings, cost, wall=WALL, **events).result
    damaged = "the driver's reply is damaged"
    expect(type(found) is dict and {"batches", "outcomes", "closed", "failed"} <= found.keys(), damaged)
    expect(all(type(found[key]) is list for key in ("batches", "outcomes", "closed", "failed")), damaged)
    expect(all(type(one) is str for one in found["failed"]), damaged)
    expect(len(found["outcomes"]) == len(arrivals), damaged)
    for number, one in enumerate(found["batches"]):
        expect(
            type(one) is dict and type(one.get("start")) is float and type(one.get("items")) is list, damaged
        )
        for item in one["items"]:
            expect(type(item) in (int, str), damaged)
            expect(
                type(item) is int,
                f"batch {number + 1}: the model got {a_thing(item)}, not an item",
                yours=item,
                spec="what predict() was called with",
                hint="The model takes a list of the items alone; futures and times stay with the batcher.",
            )
    for one in found["outcomes"]:
        expect(type(one) is dict and type(one.get("kind")) is str and type(one.get("at")) is float, damaged)
        expect(type(one.get("said", "")) is str, damaged)
    return found


def a_thing(name):
    """Return the name of a type of the student's with its article."""
    name = name if type(name) is str and name.isidentifier() and len(name) < 40 else "thing"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def shown(text):
    """Return what the driver says in a form that can be shown."""
    return "".join(letter for letter in text[:250] if letter.isprintable())


def expect_no_standstill(found, waiting):
    """Fail where somebody waits for ever, and say why; for a check that fails then anyway."""
    kinds = [outcome["kind"] for outcome in found["outcomes"]]
    if "nothing" in kinds:
        expect_no_lost_task(found)
        number = kinds.index("nothing") + 1
        why = f"request {number} of {len(kinds)} was never answered: every task waits and no timer is set"
        expect(False, why, yours="nothing", spec="an answer", hint=waiting)


def expect_no_lost_task(found):
    """Fail where a task of the batcher ended with an exception; for a check that fails then anyway."""
    if found["failed"]:
        expect(
            False,
            f"a task of your batcher ended with {shown(found['failed'][0])}",
            yours=found["failed"][0],
            spec="no exception",
            hint="Nobody hears of what is raised in a task or a timer, and what it was to do remains undone.",
        )


def right_batches(arrivals, settings, cost):
    """Return the batches that the specification asks for, for arrivals in the order of time."""
    coming, waiting, batches, free = list(arrivals), [], [], 0.0
    while coming or waiting:
        if waiting:
            full = len(waiting) >= settings["max_batch"]
            start = max(
                free, waiting[settings["max_batch"] - 1][0] if full else waiting[0][0] + settings["max_wait"]
            )
        if not waiting or (coming and coming[0][0] < start):
            waiting.append(coming.pop(0))
            continue
        batch, waiting = waiting[: settings["max_batch"]], waiting[settings["max_batch"] :]
        batches.append({"start": start, "items": [item for _, item in batch]})
        free = start + cost[0] + cost[1] * len(batch)
    return batches


def expect_batches(found, right, waiting):
    """Compare the batches: what was in each, and when it started."""
    if [one["items"] for one in found["batches"]] != [one["items"] for one in right]:
        expect_no_lost_task(found)
        expect_no_standstill(found, waiting)
    for number, (mine, spec) in enumerate(zip(found["batches"], right, strict=False)):
        of = f"batch {number + 1}"
        late = mine["start"] > spec["start"] + 1e-6
        hint = f"Nobody looked when {of} was due, at {spec['start']:.6g} s. {CLOCK}" if late else None
        expect_equal(mine["items"], spec["items"], of=f"{of}: items", hint=hint)
        expect_close(
            mine["start"], spec["start"], atol=1e-6, why="the clock is virtual", of=f"{of}: its start"
        )
    expect_equal(len(found["batches"]), len(right), of="number of batches")


def between(sub, low, high):
    """Return a random number."""
    return sub.rng.uniform(low, high, (1,)).item()


def items(sub, count):
    """Return so many different numbers."""
    return (sub.rng.permutation(1000)[:count] + 1).tolist()


def groups(sub, sizes, apart, gap):
    """Return arrivals: `sizes` requests at a time, `gap` to twice that between two of them, groups `apart`."""
    arrivals, named = [], items(sub, sum(sizes))
    for number, size in enumerate(sizes):
        now = number * apart + 1
        for _ in range(size):
            arrivals.append([now, named[len(arrivals)]])
            now += gap * between(sub, 1, 2)
    return arrivals


CLOCK = (
    "Times are loop.time(), and who waits sets a timer for exactly that moment (the clock is virtual; "
    "time.monotonic() does not move)."
)
WHEN_DUE = f"A request waits for ever: who looks again when max_wait is over? {CLOCK}"
WHEN_FREE = "A request waits for ever: does each get its answer, in a batch that is not full too?"


@check(
    item="batcher",
    points=0.25,
    hint="A full batch need not wait; one that is not full waits until its oldest request has waited max_wait, and "
    f"not for the last one that came. {CLOCK}",
    waiting=WHEN_DUE,
)
def batches_form(sub):
    """With a free model, a batch starts when it is full, or when its oldest request waited max_wait."""
    full = sub.rng.integers(3, 7)
    settings = {"max_batch": full, "max_wait": 0.2 + 0.1 * sub.rng.integers(0, 5), "max_queue": 100}
    sizes = [1, full, full - 1, sub.rng.integers(2, full), full + 2, 1, 2 * full]
    cost = [0.001, 0.0]
    arrivals = groups(sub, sizes, apart=10, gap=0.004)
    right = right_batches(arrivals, settings, cost)
    expect_batches(simulate(sub, arrivals, settings, cost), right, WHEN_DUE)


def random_load(sub, count, mean):
    """Return arrivals at random times, at least a millisecond apart, `mean` seconds on average."""
    now, arrivals, named = 1.0, [], items(sub, count)
    for place in range(count):
        now += 0.001 + mean * -math.log(between(sub, 0.01, 1))
        arrivals.append([now, named[place]])
    return arrivals


def expect_no_error_of_its_own(outcome):
    """Fail where predict() raised a ValueError that the model did not; for a check that fails then anyway."""
    if outcome["kind"] == "ValueError" and outcome.get("said"):
        why = f"predict() raised {shown(outcome['said'])}, which the model did not"
        expect(False, why, yours=outcome["said"], spec="an answer", hint="")


def expect_answers(found, arrivals, cost, *, of=""):
    """Fail unless each request got the model's answer to its own item, when its batch ended."""
    expect_no_standstill(found, WHEN_FREE)
    ends = {
        item: one["start"] + cost[0] + cost[1] * len(one["items"])
        for one in found["batches"]
        for item in one["items"]
        if type(item) is int
    }
    for (_, item), outcome in zip(arrivals, found["outcomes"], strict=True):
        expect_no_error_of_its_own(outcome)
        expect_equal(outcome["kind"], "answer", of=f"what became of a request{of}")
        expect_equal(outcome.get("value"), 2 * item + 1, of=f"the answer to {item}{of}")
        late = outcome["at"] - ends.get(item, -1.0)
        expect_at_most(late, 1e-6, of=f"seconds between the end of its batch and the answer{of}")


@check(
    item="batcher",
    points=0.25,
    hint="The model's answers come in the order of its items. Each caller waits for a future of its own.",
    waiting=WHEN_FREE,
)
def everyone_gets_the_own_answer(sub):
    """40 to 60 requests at random times: each gets the answer to its own item, as soon as its batch ends."""
    cost = [0.02, 0.01]
    settings = {"max_batch": sub.rng.integers(3, 7), "max_wait": 0.1, "max_queue": 100}
    arrivals = random_load(sub, sub.rng.integers(40, 60), 0.02)
    # The last but one comes alone, the last while its batch runs: nobody comes later who would wake the batcher.
    arrivals[-2][0] = arrivals[-3][0] + 1.0
    arrivals[-1][0] = arrivals[-2][0] + 0.11
    expect_answers(simulate(sub, arrivals, settings, cost), arrivals, cost)


# --- the service -------------------------------------------------------------------------------------------------

TIMEOUT = 6
"""Seconds for one answer, only to end what hangs."""
PATIENCE = 4
"""Seconds for which a model keeps a batch when it is told to; what is asked meanwhile must not wait for it."""
GRACE = 5
"""Seconds from SIGTERM to the end."""
WORDS = ("apple", "Äpfel", "книга", "dog", "a cup", '"', "sheep")


def name_of(image, secret):
    """Return a word for an image; who does not know the number `secret` cannot tell which."""
    pixels = [[int(pixel) for pixel in row] for row in image]
    return hashlib.sha256(f"{secret} {pixels}".encode()).hexdigest()[:8]


class Detector(Model):
    """The model of a service: it stands with the examiner, who sees each batch, when it began and how large it was.

    `fixed` seconds for a batch, `warm_up` for the black image. It fails for an image whose first pixel is 255. What
    it sees depends on every pixel, and on a number that nobody can guess: who has not asked cannot answer.
    """

    out_of_patience = False

    def __init__(self, sub, fixed=0.02, warm_up=0.02):
        super().__init__(self._see)
        self.fixed, self._warm_up, self._secret = fixed, warm_up, sub.rng.integers(0, 1 << 62)
        self.go = (
            threading.Event()
        )  # clear it, and batches stay with the model until it is set, or patience ends
        self.go.set()
        self.seen = []  # (when it began, number of images), in their order, without those of the warm-up
        self.misfed = ""  # what else than an image it was given

    def ask(self, batch):
        """Return what the worker is told, and how long that takes."""
        before = len(self.seen)
        answer, _ = super().ask(batch)
        if not self.go.wait(PATIENCE):
            self.go.set()
            self.out_of_patience = True
        return answer, self.fixed if len(self.seen) > before else self._warm_up

    def names(self, image):
        """Return what is seen on an image: 0 to 3 names."""
        first, second = image[0][:2]
        look = name_of(image, self._secret)
        return [f"{WORDS[(first + place) % len(WORDS)]} {look}" for place in range(second % 4)]

    def _see(self, images):
        try:
            asked = [[[int(pixel) for pixel in row] for row in image] for image in images]
        except (TypeError, ValueError):
            self.misfed = "an image that is no list of rows of pixels"
            raise ValueError(f"was given {self.misfed}") from None
        if any(pixel for image in asked for row in image for pixel in row):
            self.seen.append((time.perf_counter(), len(asked)))
        for image in asked:
            if len(image) != 8 or any(len(row) != 8 for row in image):
                self.misfed = "an image that is not 8 rows of 8 pixels"
                raise ValueError(f"was given {self.misfed}")
        if any(image[0][0] == 255 for image in asked):
            raise ValueError("an image that nobody can bear to look at")
        return [self.names(image) for image in asked]

    @property
    def sizes(self):
        """The sizes of all batches but the warm-up."""
        return [count for _, count in self.seen]

    def first(self):
        """Return when the first batch began; fail where none did."""
        expect(bool(self.seen), "the model was never asked")
        return self.seen[0][0]

    def wait(self, batches, seconds=10):
        """Return when so many batches have begun, or when nobody can expect any more."""
        end = time.perf_counter() + seconds
        while len(self.seen) < batches and time.perf_counter() < end:
            time.sleep(0.01)


def an_image(sub, first, names=1):
    """Return an image that begins with this pixel, 1 to 255, and on which the model sees so many names, 0 to 3."""
    image = sub.rng.integers(0, 256, (8, 8)).tolist()
    image[0][:2] = [first, 4 * sub.rng.integers(0, 64) + names]
    return image


def images(sub, count, *, names=(1,)):
    """Return so many images, which begin with different pixels, and in turn have as many `names`."""
    firsts = sub.rng.permutation(250)[:count].tolist()
    return [an_image(sub, first + 1, names[place % len(names)]) for place, first in enumerate(firsts)]


def asks(image):
    """Return the request of a prediction."""
    return Http("POST", "/predict", {"image": image})


@contextlib.contextmanager
def service(sub, model, max_batch=4, max_wait=0.02, max_queue=64, ready=True):
    """Start the service and wait until it is ready."""
    settings = {"max_batch": max_batch, "max_wait": max_wait, "max_queue": max_queue}
    with sub.serve("service:serve", kwargs=settings, model=model) as server, fed_rightly(model):
        if ready:
            wait_until_ready(server)
        yield server


@contextlib.contextmanager
def fed_rightly(model):
    """Where a check fails in this block, say also that the model was given what is no image."""
    try:
        yield
    except Failed as error:
        if model.misfed:
            error.why += f" (the model was given {model.misfed})"
            error.hint = "model(images) takes a list of images, each with 8 rows of 8 pixels."
        raise


@contextlib.contextmanager
def case(of, hint=None):
    """Where no answer comes in this block, say to what."""
    try:
        yield
    except StudentError as error:
        if "not implemented yet" not in error.why:
            error.why = f"{of}: {error.why}"
        if "raised" not in error.why and hint is not None:
            error.hint = hint
        raise


def wait_until_ready(server):
    """Return when /readyz says 200; fail where it does not."""
    end = time.perf_counter() + TIMEOUT
    # On a plain connection: a release compares what is asked under other seeds, and this is the same every time.
    question = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with case(
        "GET /readyz", "Does whoever asks wait for the warm-up? Until it is answered, /readyz says 503."
    ):
        answer = raw(server, question)
    while (status := answer.status) != 200:
        expect(
            time.perf_counter() < end,
            f"/readyz does not say 200 after {TIMEOUT} s",
            yours=str(status),
            hint="Has the model answered the warm-up?",
        )
        time.sleep(0.02)
        with case("GET /readyz"):
            answer = raw(server, question)


def expect_status(answer, *statuses, of, ready=False, hint=None):
    """Fail unless an answer has one of these statuses; `ready` says that the service is, by its own word."""
    right = " or ".join(map(str, statuses))
    why = f"{of}: the status is {answer.status}, not {right}"
    if ready and answer.status == 503:
        why += ", although /readyz said 200 before"
        hint = (
            "Whoever says that he is ready takes requests: /readyz and /predict must look at the same thing."
        )
    expect(answer.status in statuses, why, yours=str(answer.status), spec=right, hint=hint)


def expect_objects(answer, model, image, *, of="a prediction"):
    """Fail unless an answer has what the model sees on this image."""
    expect_status(answer, 200, of=of, ready=True)
    with case(of):
        found = answer.json()
    expect(
        type(found) is dict and "objects" in found,
        f"{of}: no object with objects",
        yours=str(answer.body[:80]),
    )
    expect_equal(found["objects"], model.names(image), of=f"{of}: objects")


@check(
    item="requests",
    points=0.25,
    hint='The answer is JSON, {"objects": [...]}, with the names that the model gave for it: some, or none.',
    waiting="Does your service listen on the port that it is given, and call the model beside the event loop?",
)
def predictions_are_those_of_the_model(sub):
    """POST /predict answers 200 and what the model sees: one request after the other, and 20 at once."""
    model = Detector(sub)
    with service(sub, model) as server:
        for image in images(sub, 6, names=(1, 0, 3)):
            expect_objects(server.http(*asks(image)[:3], timeout=TIMEOUT), model, image)
        several = images(sub, 20, names=(0, 1, 2, 3))
        for image, reply in zip(
            several, server.many([asks(one) for one in several], timeout=TIMEOUT), strict=True
        ):
            expect_objects(reply.answer, model, image, of="one of 20 at once")


def head(length):
    """Return the first line and the headers of a prediction whose body has this length."""
    lines = ["POST /predict HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def tell(sock, data):
    """Send bytes on a connection of the service."""
    try:
        sock.sendall(data)
    except OSError as error:
        expect(
            False, "the service closed a connection on which a request was still to come", yours=str(error)
        )


def raw(server, data):
    """Send these bytes on a connection of their own, and return the answer."""
    with server.connect() as sock:
        tell(sock, data)
        return server.read(sock, method="POST", timeout=TIMEOUT / 2)


def changed(image, row, column, pixel):
    """Return an image with another pixel."""
    return [
        [pixel if (r, c) == (row, column) else old for c, old in enumerate(line)]
        for r, line in enumerate(image)
    ]


@check(
    item="requests",
    points=0.125,
    hint="400: nobody can read it. 422: it can be read, and is no image. Look at every row and every pixel.",
)
def bad_requests_are_refused(sub):
    """No JSON: 400. No image in it: 422. Unknown path: 404, or method: 405. The model sees none.

    Too large: 413, at most 3 s after the header, and without the body.
    """
    model = Detector(sub)
    with service(sub, model) as server:

        def post(body, status, of):
            headers = {"Content-Type": "application/json"}
            with case(of, "No request ends a connection without an answer: 400 or 422 is one."):
                answer = server.http("POST", "/predict", body, headers=headers, timeout=TIMEOUT)
            expect_status(answer, status, of=of)

        def ask(method, path, status, of, hint):
            with case(of, hint):
                answer = server.http(method, path, timeout=TIMEOUT)
            expect_status(answer, status, of=of, hint=hint)

        image, row, column = an_image(sub, 7), sub.rng.integers(0, 8), sub.rng.integers(0, 8)
        whole = json.dumps({"image": image}).encode()
        post(whole[: sub.rng.integers(10, len(whole))], 400, "JSON that breaks off")
        post(b"image", 400, "a word")
        post({"images": image}, 422, "no image")
        post({"image": image[1:]}, 422, "7 rows")
        post({"image": [*image, image[0]]}, 422, "9 rows")
        post({"image": [line[:7] for line in image]}, 422, "rows of 7 pixels")
        post({"image": changed(image, row, column, 256)}, 422, "a pixel of 256")
        post({"image": changed(image, row, column, -1)}, 422, "a pixel of -1")
        post({"image": changed(image, row, column, None)}, 422, "a pixel of null")
        of, hint = "65,537 bytes that are announced and do not come", "413 by the header alone: none comes."
        with case(of, hint):
            answer = raw(server, head(65_537))
        expect_status(answer, 413, of=of, hint=hint)
        for method, path, right in (("GET", "/predict", "POST"), ("POST", "/healthz", "GET")):
            hint = f"{method} {path}: the path is known, and takes {right} only. That is 405, with or without a body."
            ask(method, path, 405, f"{method} {path}", hint)
        path = f"/{sub.rng.integers(0, 1000)}"
        ask("GET", path, 404, f"GET {path}, an unknown path", f"GET {path}: nobody knows this path, so 404.")
        expect_equal(
            model.sizes,
            [],
            of="batches that the model saw",
            hint="Look at an image before the batcher has it.",
        )
        with case("a good request after them"):
            answer = server.http(*asks(image)[:3], timeout=TIMEOUT)
        expect_status(answer, 200, of="a good request after them", ready=True)


COUNT = "app_http_inference_count_total"


def metrics(server):
    """Return the samples of /metrics by their names; bounds of buckets without .0."""
    answer = server.http("GET", "/metrics", timeout=TIMEOUT)
    expect_status(answer, 200, of="GET /metrics")
    lines = [line.split() for line in answer.body.decode("utf-8", "replace").split("\n")]
    names = [" ".join(line[:-1]) for line in lines if line and not line[0].startswith("#")]
    if len(set(names)) < len(names):
        hint = "A sample stands twice, with the same name and labels: is a metric written for each request?"
    else:
        hint = "A line is 'name value' or 'name{label=\"text\"} value', begins with #, or is empty."
    with case("GET /metrics", hint):
        samples = answer.metrics()
    return {re.sub(r'le="(\d+)\.0"', r'le="\1"', name): value for name, value in samples.items()}


def hint_on_missing(sample, found):
    """Return what may be wrong with the name of a sample that is not there; None where it seems to be missing."""
    name, _, labels = sample.partition("{")
    if not labels and any(other.startswith(name + "{") for other in found):
        return f"{name} is there with labels, and is to have none."
    if labels and any(other.partition("{")[0] == name for other in found):
        return f'{name} is there with other labels: {{le="1"}}, and so on; le="+Inf" for all.'
    bare = name.removesuffix("_total").lower()
    if any(other.lower().startswith((bare, f"{bare}_total")) for other in found):
        return f"A similar name is there: it is {name}, letter by letter."
    return None


def expect_count(server, right, *, of):
    """Fail unless the counter stands at this number."""
    found = metrics(server)
    hint = hint_on_missing(COUNT, found)
    expect(COUNT in found, f"/metrics has no {COUNT}", yours=", ".join(found)[:80], hint=hint)
    expect_equal(found[COUNT], float(right), of=f"{COUNT}{of}")


@check(
    item="metrics",
    points=0.25,
    hint="A counter begins at 0, and is there from the beginning. It grows with each answer 200 of /predict.",
)
def inferences_are_counted(sub):
    """app_http_inference_count_total grows by one with each prediction: one after the other, and several at once."""
    model = Detector(sub)
    with service(sub, model) as server:
        expect_count(server, 0, of=" at the beginning")
        few, many = sub.rng.integers(2, 5), sub.rng.integers(15, 25)
        for image in images(sub, few):
            answer = server.http(*asks(image)[:3], timeout=TIMEOUT)
            expect_status(answer, 200, of="a prediction", ready=True)
        expect_count(server, few, of=f" after {few} predictions")
        for reply in server.many([asks(image) for image in images(sub, many)], timeout=TIMEOUT):
            expect_status(reply.answer, 200, of="one of several at once", ready=True)
        server.http("GET", "/healthz", timeout=TIMEOUT)
        expect_count(server, few + many, of=f" after {many} more at once")


@check(
    item="load",
    points=0.25,
    hint="One batcher for all connections, with the settings that serve() was given.",
)
def batches_form_behind_http(sub):
    """Requests that come together share a batch: full ones at once, others when max_wait is over."""
    full, wait = sub.rng.integers(3, 7), 1.5
    model = Detector(sub)
    # Made before any clock starts: the first random tensor imports torch, which takes seconds on a busy machine.
    cases = [
        ([asks(image) for image in images(sub, sum(sizes))], sizes) for sizes in ([full], [full, full], [2])
    ]
    with service(sub, model, max_batch=full, max_wait=wait) as server:
        for questions, sizes in cases:
            count = len(questions)
            model.seen.clear()
            load = server.load(questions, timeout=TIMEOUT)
            for reply in load.replies():
                expect_status(reply.answer, 200, of=f"one of {count} at once", ready=True)
            expect_equal(model.sizes, sizes, of=f"sizes of the batches of {count} requests at once")
            if count < full:
                waited = model.first() - load.began
                expect_at_least(waited, wait - 0.01, of="seconds until the model had a batch of two")


def drained(sub, server, load):
    """Send SIGTERM, fail unless the service ends in time, and return how it ended and what became of the load."""
    ended = server.terminate(GRACE + 1)
    sub.note("from SIGTERM to the end", ended.seconds, "s")
    expect(ended.code is not None, f"the service still runs {GRACE + 1} s after SIGTERM")
    expect_at_most(ended.seconds, GRACE, of="seconds from SIGTERM to the end")
    return ended, load.replies()


def how_it_ended(ended):
    """Return how the service ended after SIGTERM, and the hint that fits; None for the check's own."""
    code = ended.code
    if code == -15:
        return "the service ended by SIGTERM (143 in a shell)", (
            "Nobody handled the signal, or it was raised a second time: uvicorn does so when it has drained. Handle "
            "it, and return."
        )
    if code is not None and code < 0:
        return f"the service ended by signal {-code} ({128 - code} in a shell)", None
    return f"the service ended with {code}", None


def expect_clean_end(ended):
    """Fail unless the function returned after SIGTERM."""
    how, hint = how_it_ended(ended)
    expect(ended.code == 0, f"{how}, not with 0", yours=ended.error or str(ended.code), spec="0", hint=hint)


@check(
    item="shutdown",
    points=0.25,
    hint="Stop listening, let the batcher finish, write the answers, end: in this order. A batch that is not full "
    "need not wait any more.",
)
def accepted_requests_are_answered(sub):
    """SIGTERM while a batch runs and others wait: all get their answers, later ones none; the exit code is 0."""
    model = Detector(sub)
    several = images(sub, 10)
    with service(sub, model, max_batch=4, max_wait=30) as server:
        model.go.clear()
        load = server.load([asks(image) for image in several[:6]], timeout=TIMEOUT)
        model.wait(1)
        time.sleep(0.4)
        late = server.load([asks(image) for image in several[6:]], at=[0.8] * 4, timeout=TIMEOUT)
        threading.Timer(1.2, model.go.set).start()
        ended, replies = drained(sub, server, load)
        replies += late.replies()
    how, hint = how_it_ended(ended)
    lost = "a request that was accepted before SIGTERM got no answer" + (f"; {how}" if ended.code else "")
    for reply in replies[:6]:
        expect(not reply.error, lost, yours=reply.error, hint=hint)
        expect_status(reply.answer, 200, of="a request that was accepted before SIGTERM")
    for reply in replies[6:]:
        taken = not reply.error and reply.answer.status != 503
        expect(
            not taken, "a request that came 0.8 s after SIGTERM was taken", yours=reply.error or "an answer"
        )
    expect_clean_end(ended)
    expect(not ended.listening, "somebody still listens on the port")


# --- gRPC ---------------------------------------------------------------------------------------------------------

DETECT = "inference.InstanceDetector/Predict"


def message(image):
    """Return an InstanceDetectorInput: field 1, bytes, all 64 pixels."""
    pixels = bytes(pixel for row in image for pixel in row)
    return bytes([8 * 1 + 2, len(pixels)]) + pixels


@contextlib.contextmanager
def grpc_service(sub, model, max_batch=4, max_wait=0.02, max_queue=64):
    """Start the gRPC service."""
    settings = {"max_batch": max_batch, "max_wait": max_wait, "max_queue": max_queue}
    with sub.serve("grpc_service:serve_grpc", kwargs=settings, model=model) as server, fed_rightly(model):
        yield server


def expect_detected(answer, model, image, *, of="a call"):
    """Fail unless an answer of gRPC has what the model sees on this image."""
    why = f"{of}: the status is {answer.status}, not 0 (OK)"
    hint = f"The method is called /{DETECT}: package, service, method." if answer.status == 12 else None
    expect(answer.status == 0, why, yours=answer.details or str(answer.status), spec="0", hint=hint)
    with case(
        of, "Before each name stands its length, which counts bytes and not letters: name.encode() first."
    ):
        fields = answer.fields()
    names = [
        value.decode("utf-8", "replace") for number, value in fields if number == 1 and type(value) is bytes
    ]
    expect_equal(names, model.names(image), of=f"{of}: objects")


@check(
    item="grpc",
    points=0.25,
    hint="Field 1 of the answer comes once for each name. The image arrives as 64 bytes, row by row. Lengths count "
    "bytes, not letters.",
)
def grpc_answers_as_http_does(sub):
    """inference.InstanceDetector/Predict answers with the names that the model gave, from batches."""
    model = Detector(sub)
    with grpc_service(sub, model, max_batch=4, max_wait=1.0) as server:
        several = images(sub, 8, names=(0, 1, 2, 3))
        replies = server.many([Grpc(DETECT, message(image)) for image in several], timeout=TIMEOUT)
        for image, reply in zip(several, replies, strict=True):
            expect_detected(reply.answer, model, image, of="one of 8 calls at once")
        expect_equal(model.sizes, [4, 4], of="sizes of the batches")


# --- fair queueing ------------------------------------------------------------------------------------------------


def given(answer):
    """Return what the driver says that pop() gave, in a form that can be shown."""
    gave = answer.get("gave") if type(answer) is dict else None
    return shown(gave) if type(gave) is str else "something else"


def expect_fair(sub, weights, steps, *, plain=True):
    """Run these steps, and look at what came out: by turns and, where this is the `plain` case, each in its order."""
    found = sub.call("driver:queue", weights, steps, wall=WALL).result
    expect(type(found) is list and len(found) == len(steps), "the driver's reply is damaged")
    waiting = {}
    turns = {}  # of a pair of clients that both wait: least, greatest and present difference
    for step, answer in zip(steps, found, strict=True):
        if step is not None:
            waiting.setdefault(step[0], []).append(step[1])
            if plain:
                expect_equal(answer, sum(map(len, waiting.values())), of="len() after a push")
            continue
        there = [client for client, left in waiting.items() if left]
        if not there:
            gave = "a pair" if type(answer) is list else given(answer)
            why = f"pop() of an empty queue gave {gave}, and is to raise IndexError"
            expect(answer == "IndexError", why, yours=gave, spec="IndexError")
            continue
        expect(answer != "IndexError", "pop() raised IndexError although something is in the queue")
        why = f"pop() gave {given(answer)}, not a pair (item's client, item)"
        expect(type(answer) is list and len(answer) == 2, why, yours=given(answer), spec="(client, item)")
        client, item = (given(one) if type(one) is dict else one for one in answer)
        expect(client in there, "pop() names a client that has nothing in the queue", yours=str(client)[:80])
        if plain:
            expect_equal(item, waiting[client][0], of=f"the item of {client} that came out")
        expect(
            item in waiting[client],
            f"pop() gave an item that {client} does not have in the queue",
            yours=item,
        )
        waiting[client].remove(item)
        for other in there:
            if other == client:
                continue
            pair = min(client, other), max(client, other)
            low, high, now = turns.get(pair, (0.0, 0.0, 0.0))
            now += (1 if client == pair[0] else -1) / weights.get(client, 1)
            turns[pair] = (min(low, now), max(high, now), now)
            most = sum(1 / weights.get(one, 1) for one in pair)
            low, high, _ = turns[pair]
            expect_at_most(
                high - low, most + 1e-9, of="difference of the turns of two clients that both wait"
            )
        if not waiting[client]:
            turns = {pair: seen for pair, seen in turns.items() if client not in pair}


@check(
    item="fair",
    points=0.5,
    hint="One queue for each client, and a turn for each that has something.",
)
def clients_take_turns(sub):
    """One client pushes 100 items, others a few, at the beginning and in between; all of equal weight."""
    steps = [("flood", number) for number in range(100)]
    steps += [(f"client {number % 3}", 1000 + number) for number in range(sub.rng.integers(9, 20))]
    for number in range(30):
        steps += [None] * sub.rng.integers(1, 5)
        steps.append((f"client {sub.rng.integers(0, 5)}", 2000 + number))
    pushed = sum(step is not None for step in steps)
    expect_fair(sub, {}, steps + [None] * (2 * pushed - len(steps) + 2))
