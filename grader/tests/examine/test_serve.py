"""A server under test: who asks it stands outside, and what it does wrong has a sentence."""

import contextlib
import itertools
import socket
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import torch

from grader.checks import (
    Failed,
    Grpc,
    Http,
    Model,
    StudentError,
    Undecided,
    expect_close,
    read_fields,
    write_fields,
)
from grader.examine import compare, job
from grader.examine.checks import Check
from grader.examine.service import exchange
from grader.examine.submission import Submission

HONEST = """
import json, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def serve(port, model=None, slow=0.0):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            time.sleep(slow)
            self.answer({"path": self.path})
        def do_POST(self):
            import torch
            numbers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(model(torch.tensor([numbers], dtype=torch.float32)).tolist())
        def answer(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass
    ThreadingHTTPServer.request_queue_size = 500
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = False
    stop = lambda *args: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(0.01)
    server.server_close()
"""

RAW = """
import os, signal, socket, struct, sys, threading, time

def listen(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(100)
    return server

def each(port, handle):
    server = listen(port)
    while True:
        one, _ = server.accept()
        threading.Thread(target=handle, args=(one,), daemon=True).start()

def question(one):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        more = one.recv(65536)
        if not more:
            raise SystemExit
        data += more
    return data

def says(port, answer, first=False):
    def handle(one):
        if not first:
            question(one)
        one.sendall(answer)
        one.close() if not first else time.sleep(5)
    each(port, handle)
"""


@pytest.fixture
def raw(submit):
    """Return a function that serves `serve(port)` of some code beside helpers that speak byte by byte."""
    with contextlib.ExitStack() as stack:

        def start(code, *, ready=20, memory=1 << 30, **options):
            sub = submit(RAW + textwrap.dedent(code), wall=60, memory=memory)
            return stack.enter_context(sub.serve("work:serve", ready=ready, **options))

        yield start


@pytest.fixture
def plainly(examiner, submit, monkeypatch):
    """Return a function that makes a submission whose workers have no isolation at all."""
    monkeypatch.setattr(examiner.place, "isolated", False)
    monkeypatch.setattr(examiner.place, "cgroups", None)
    return submit


def answers(raw, answer, **options):
    return raw(f"def serve(port):\n    says(port, {answer!r}, **{options!r})\n")


def test_an_answer_comes_back_whole(submit):
    with submit(HONEST).serve("work:serve") as server:
        answer = server.http("GET", "/health?x=1")
        assert answer.status == 200
        assert answer.json() == {"path": "/health?x=1"}
        assert answer.headers["content-length"] == str(len(answer.body))
        assert 0 < answer.seconds < 10


def test_without_isolation_the_same_server_answers(plainly):
    model = Model(lambda batch: batch.sum(1))
    with plainly(HONEST).serve("work:serve", model=model) as server:
        assert server.http("POST", "/", [1, 2, 3]).json() == [6.0]
        assert server.usage() is None
        ended = server.terminate(10)
        assert (ended.code, ended.listening, ended.survivors) == (0, (), None)


def test_the_servers_network_has_no_way_out_while_the_examiner_comes_in(submit):
    with socket.create_server(("127.0.0.1", 0)) as outside:
        code = f"""
        import socket
        def reach():
            try:
                socket.create_connection(("127.0.0.1", {outside.getsockname()[1]}), 1)
                return "reached"
            except OSError as error:
                return type(error).__name__
        """
        sub = submit(HONEST.replace('{"path": self.path}', '{"path": reach()}') + textwrap.dedent(code))
        with sub.serve("work:serve") as server:
            assert server.http("GET", "/").json() == {"path": "ConnectionRefusedError"}
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.ports["port"]), 1)


def test_nothing_of_a_server_is_left_when_it_is_closed(submit, examiner):
    before = set(psutil.Process(examiner.place.zygote.pid).children(recursive=True))
    descriptors = psutil.Process().num_fds()
    with submit(HONEST).serve("work:serve") as server:
        server.many([Http("GET", "/")] * 20)
        assert set(psutil.Process(examiner.place.zygote.pid).children(recursive=True)) - before
    end = time.perf_counter() + 10
    while time.perf_counter() < end and any(
        one.is_running() and one.status() != psutil.STATUS_ZOMBIE
        for one in set(psutil.Process(examiner.place.zygote.pid).children(recursive=True)) - before
    ):
        time.sleep(0.02)
    assert time.perf_counter() < end
    assert psutil.Process().num_fds() <= descriptors + 1  # the packed files


def test_a_check_that_raises_leaves_no_load_and_no_server(submit):
    loads = []

    def check(sub):
        with sub.serve("work:serve", kwargs={"slow": 30}) as server:
            loads.append(server.load([Http("GET", "/")] * 5, timeout=60))
            raise KeyError

    with pytest.raises(KeyError):
        check(submit(HONEST))
    assert not loads[0].is_running


# What a server may do wrong before it answers anything.


def test_a_function_that_returns_at_once_is_told_so(raw):
    with pytest.raises(StudentError, match="nothing listened on port: your function ended with code 0"):
        raw("def serve(port): return None")


def test_what_a_function_raises_is_told(raw):
    with pytest.raises(StudentError, match=r"raised ValueError: no such port at work\.py"):
        raw("def serve(port): raise ValueError('no such port')")


def test_a_worker_that_exits_is_told_with_its_last_words(raw):
    with pytest.raises(StudentError, match="ended with code 3") as caught:
        raw("def serve(port):\n    print('cannot bind', file=sys.stderr)\n    os._exit(3)")
    assert caught.value.yours == "cannot bind"


def test_a_server_on_another_port_is_told_which_was_meant(raw):
    with pytest.raises(StudentError, match=r"nothing listens on .*your function was called with port=\d+"):
        raw("def serve(port): says(port + 1, b'')", ready=0.5)


def test_a_stub_reads_as_one(raw):
    with pytest.raises(StudentError, match="not implemented yet"):
        raw("def serve(port): raise NotImplementedError('not implemented yet: serve')")


def test_a_missing_function_is_told(raw):
    with pytest.raises(StudentError, match="defines no function serve"):
        raw("def served(port): pass")


# HTTP/1.1, byte by byte.

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (OK + b"Content-Length: 5\r\n\r\nab", "announced 5 bytes .* after 2"),
        (OK + b"Content-Length: 2\r\n\r\nabcd", "sent 2 bytes after the end"),
        (OK + b"Content-Length: -1\r\n\r\n", "no number"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "twice"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", "at most 16 MiB"),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "two ends"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "longer than its size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "no number"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "more than 16 MiB"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "before the last chunk"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "nobody asked for"),
        (OK + b"X: " + b"a" * 40_000, "more than 32 KiB of headers"),
        (OK + b"X: a\r\n" * 200 + b"\r\n", "more than 100 headers"),
        (OK + b"no header\r\n\r\n", "no header"),
        (OK + b"Content-Length: 2\r\n\r\nab" + OK + b"Content-Length: 2\r\n\r\nab", "after the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "answers 1xx"),
        (b"SSH-2.0-OpenSSH\r\n", "no status line"),
        (b"\x00" * 5000, "no status line"),
        (b"HTTP/1.1 200", "middle of the headers"),
        (b"", "without an answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_that_is_none_has_a_sentence(answering, answer, why):
    with pytest.raises(StudentError, match=why):
        answering(answer)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", b"ab"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\nT: x\r\n\r\n", b"ab"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_every_form_of_an_answer_is_read(answering, answer, body):
    assert answering(answer).body == body


@pytest.fixture(scope="module")
def parrot(examiner, tmp_path_factory):
    """A server that answers with the bytes that stand in its request's body."""
    from grader.sandbox.packed import Packed

    folder = tmp_path_factory.mktemp("parrot")
    code = """
    def serve(port):
        def handle(one):
            data = question(one)
            head, _, body = data.partition(b"\\r\\n\\r\\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            while len(body) < size:
                body += one.recv(65536)
            one.sendall(body)
            one.close()
        each(port, handle)
    """
    (folder / "work.py").write_text(RAW + textwrap.dedent(code))
    packed = Packed(folder, ["work.py"])
    check = Check("c", "i", 1.0, 300.0, None, "", "", False, "S.", lambda sub: None)
    sub = Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
    with contextlib.closing(packed), sub.serve("work:serve") as server:
        yield server


@pytest.fixture
def answering(parrot):
    return lambda answer: parrot.http("POST", "/", answer)


def test_an_answer_before_the_question_is_no_answer(raw):
    server = answers(raw, OK + b"Content-Length: 2\r\n\r\nab", first=True)

    def ask():
        for _ in range(50):  # whether it is there within the examiner's patience is the kernel's choice
            server.http("GET", "/", timeout=5)

    with pytest.raises(StudentError, match="answered before it was asked"):
        ask()


def test_an_answer_without_end_ends_at_its_time(raw):
    server = raw(
        """
        def serve(port):
            def drip(one):
                question(one)
                one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\n")
                while True:
                    one.sendall(b"x")
                    time.sleep(0.1)
            each(port, drip)
        """
    )
    begin = time.perf_counter()
    with pytest.raises(StudentError, match=r"no answer within [\d.]+ s: .* of 100 announced bytes came"):
        server.http("GET", "/", timeout=1)
    assert time.perf_counter() - begin < 5


def test_a_body_without_end_is_not_read_for_ever(raw):
    server = raw(
        """
        def serve(port):
            def pour(one):
                question(one)
                one.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
                while True:
                    one.sendall(bytes(65536))
            each(port, pour)
        """
    )
    with pytest.raises(StudentError, match="more than 16 MiB of body"):
        server.http("GET", "/")


def test_a_server_that_dies_over_a_question_is_told(raw):
    server = raw("def serve(port):\n    each(port, lambda one: os._exit(7))")
    with pytest.raises(StudentError, match="ended with code 7"):
        server.http("GET", "/")


def test_a_server_that_uses_too_much_memory_is_told(raw):
    server = raw(
        """
        def serve(port):
            def eat(one):
                question(one)
                kept = [bytearray(b"x") * (16 << 20) for _ in range(60)]
            each(port, eat)
        """,
        memory=200 << 20,
    )
    with pytest.raises(StudentError, match="used more than the 200 MiB of memory allowed"):
        server.http("GET", "/")


def test_half_a_question_and_a_second_one_on_the_same_connection(submit):
    with submit(HONEST).serve("work:serve") as server, server.connect("port") as sock:
        sock.sendall(b"GET /one HTTP/1.1\r\nHo")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.sendall(b"st: x\r\n\r\n")
        assert server.read(sock).json() == {"path": "/one"}
        sock.sendall(b"GET /two HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.read(sock).json() == {"path": "/two"}


# Load.


def test_times_count_from_the_intended_send(submit):
    sub = submit(HONEST)
    with sub.serve("work:serve", kwargs={"slow": 0.2}) as server:
        replies = server.many([Http("GET", f"/{n}") for n in range(10)], at=50)
        assert [reply.answer.json()["path"] for reply in replies] == [f"/{n}" for n in range(10)]
        gaps = [later.intended - reply.intended for reply, later in itertools.pairwise(replies)]
        assert all(abs(gap - 0.02) < 1e-6 for gap in gaps)
        assert all(reply.seconds >= 0.2 for reply in replies)
        assert all(reply.sent >= reply.intended for reply in replies)
        # An open loop: the tenth was sent long before the first was answered, or all would take two seconds.
        assert replies[-1].sent < replies[0].done or replies[-1].sent - replies[-1].intended > 0.1


def test_a_failed_question_is_a_reply_and_raises_only_when_it_is_read(raw):
    server = answers(raw, b"nonsense\r\n")
    replies = server.many([Http("GET", "/")] * 3)
    assert all("no status line" in reply.error and not reply.refused for reply in replies)
    with pytest.raises(StudentError, match="no status line"):
        _ = replies[0].answer


def test_many_answers_that_are_large_are_not_kept(raw, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_RECEIVED", 4 << 20)
    server = answers(raw, OK + b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000))
    replies = server.many([Http("GET", "/")] * 12, timeout=30)
    assert sum(not reply.error for reply in replies) <= 4
    assert any("more than 4 MiB to one load" in reply.error for reply in replies)


def test_a_server_that_prints_without_end_fails_though_it_answers(submit, monkeypatch):
    monkeypatch.setattr(job, "MAX_OUTPUT", 1 << 20)
    code = """
    def serve(port):
        def pour(one):
            question(one)
            one.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
            one.close()
            print("x" * (2 << 20))
        each(port, pour)
    """
    with (
        pytest.raises(StudentError, match="printed more than"),
        ask_twice(submit(RAW + textwrap.dedent(code))),
    ):
        pass


@contextlib.contextmanager
def ask_twice(sub):
    with sub.serve("work:serve") as server:
        assert server.http("GET", "/").status == 204
        assert server._over.wait(20)
        yield


def test_too_many_questions_are_the_authors_mistake(raw):
    server = answers(raw, OK)
    with pytest.raises(ValueError, match="at most 10,000"):
        server.load([Http("GET", "/")] * 10_001)
    with pytest.raises(ValueError, match="2 times for 1 questions"):
        server.load([Http("GET", "/")], at=[0.0, 1.0])


def test_a_trial_of_the_checks_hears_every_question(examiner, submit):
    from grader.steps.trials import Asked

    sub, asked = submit(HONEST), Asked()
    sub.asked = asked.note
    with sub.serve("work:serve") as server:
        server.http("GET", "/", headers={"X-Number": "1"})
        server.many([Http("GET", "/"), Http("GET", "/", {"a": [1.5]})])
    assert len(set(asked.digests)) == 3


def test_without_h2_a_person_decides(raw, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server = raw("def serve(port): says(port, b'')")
    with pytest.raises(Undecided, match="pip install h2"):
        server.grpc("a.B/C", b"")


# SIGTERM.


def test_a_server_that_drains_answers_what_it_had_begun(submit):
    with submit(HONEST).serve("work:serve", kwargs={"slow": 1.0}) as server:
        load = server.load([Http("GET", "/")] * 10)
        time.sleep(0.6)
        ended = server.terminate(20)
        assert (ended.code, ended.listening, ended.survivors, ended.error) == (0, (), 0, "")
        assert [reply.error for reply in load.replies()] == [""] * 10


def test_a_server_that_is_killed_by_sigterm_loses_them(raw):
    server = raw("def serve(port):\n    each(port, lambda one: time.sleep(60))")
    load = server.load([Http("GET", "/")] * 3, timeout=20)
    time.sleep(0.3)
    ended = server.terminate(10)
    assert (ended.code, ended.listening) == (-15, ())
    assert all(reply.error for reply in load.replies())


def test_a_server_that_does_not_hear_sigterm_still_runs(raw):
    server = raw(
        """
        def serve(port):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            says(port, b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
        """
    )
    ended = server.terminate(0.5)
    assert ended.code is None
    assert ended.listening == ("port",)
    assert ended.seconds >= 0.5


def test_a_thread_that_goes_on_listening_is_seen(raw):
    server = raw(
        """
        def serve(port):
            over = []
            signal.signal(signal.SIGTERM, lambda *args: over.append(1))
            threading.Thread(target=says, args=(port, b""), daemon=True).start()
            while not over:
                time.sleep(0.01)
        """
    )
    ended = server.terminate(10)
    assert (ended.code, ended.listening) == (0, ("port",))


def test_a_child_that_goes_on_listening_is_seen(raw):
    server = raw(
        """
        def serve(port):
            over = []
            signal.signal(signal.SIGTERM, lambda *args: over.append(1))
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                says(port, b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
            while not over:
                time.sleep(0.01)
        """
    )
    ended = server.terminate(10)
    assert (ended.code, ended.listening, ended.survivors) == (0, ("port",), 1)


def test_an_end_that_is_only_said_is_one(raw):
    """A worker that says it has returned, and answers on, is killed like any other process at its end."""
    server = raw(
        """
        def serve(port):
            call = sys._getframe(1).f_locals["call"]
            examiner = sys._getframe(1).f_locals["examiner"]
            wire = sys.modules["grader.sandbox.wire"]
            signal.signal(signal.SIGTERM, lambda *args: examiner.sendall(wire.encode({call["answer"]: 0})))
            def slowly(one):
                question(one)
                time.sleep(3)
                one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
            each(port, slowly)
        """
    )
    load = server.load([Http("GET", "/")] * 3, timeout=20)
    time.sleep(0.2)
    assert server.terminate(10).listening == ("port",)
    assert all(reply.error for reply in load.replies())


def test_an_end_before_sigterm_is_told(raw):
    server = raw("def serve(port):\n    server = listen(port)\n    server.accept()\n    os._exit(0)")
    assert server._over.wait(20)
    with pytest.raises(StudentError, match="until SIGTERM: your function ended with code 0"):
        server.terminate(10)


def test_threads_that_are_no_daemons_are_waited_for(raw):
    server = raw(
        """
        def serve(port):
            over = []
            signal.signal(signal.SIGTERM, lambda *args: over.append(1))
            server = listen(port)
            def drain():
                while not over:
                    time.sleep(0.01)
                time.sleep(0.3)
                server.close()
            threading.Thread(target=drain).start()
            while not over:
                time.sleep(0.01)
        """
    )
    ended = server.terminate(10)
    assert (ended.code, ended.listening) == (0, ())
    assert ended.seconds >= 0.3


def test_idle_threads_of_an_executor_do_not_keep_a_server_that_has_returned(raw):
    server = raw(
        """
        def serve(port):
            from concurrent.futures import ThreadPoolExecutor
            over = []
            signal.signal(signal.SIGTERM, lambda *args: over.append(1))
            server = listen(port)
            ThreadPoolExecutor(1).submit(time.sleep, 0).result()
            while not over:
                time.sleep(0.01)
            server.close()
        """
    )
    ended = server.terminate(10)
    assert (ended.code, ended.listening) == (0, ())


def test_what_is_raised_at_the_end_is_told(raw):
    server = raw(
        """
        def serve(port):
            def stop(*args):
                raise RuntimeError("not like this")
            signal.signal(signal.SIGTERM, stop)
            says(port, b"")
        """
    )
    ended = server.terminate(10)
    assert ended.code == 1
    assert "RuntimeError: not like this" in ended.error


def test_an_exit_code_of_its_own_is_told(raw):
    server = raw(
        """
        def serve(port):
            signal.signal(signal.SIGTERM, lambda *args: sys.exit(5))
            says(port, b"")
        """
    )
    assert server.terminate(10).code == 5


# The model.


def test_batches_are_seen_from_outside_and_take_their_time(submit):
    model = Model(lambda batch: batch.sum(1), fixed=0.05, each=0.01, shape=(3,), dtype=torch.float32)
    with submit(HONEST).serve("work:serve", model=model) as server:
        replies = server.many([Http("POST", "/", [n, 2, 3]) for n in range(6)])
        assert [reply.answer.json() for reply in replies] == [[5.0 + n] for n in range(6)]
    assert model.sizes == [1] * 6
    starts = sorted(batch.began for batch in model.batches)
    # One at a time, as on one accelerator, though six threads call.
    assert all(later - one >= 0.06 for one, later in itertools.pairwise(starts))


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        ("torch.zeros(0, 3)", "at least one"),
        ("torch.zeros(2, 3, dtype=torch.float64)", "float32, .n, 3., and was called with float64"),
        ("torch.zeros(2, 4)", "float32, .n, 3., and was called with float32 tensor of shape .2, 4."),
        ("torch.zeros(9, 3)", "at most 8"),
        ("'text'", "a value of type str"),
        ("None", "None"),
        ("torch.full((1, 3), 13.0)", "cannot take this batch: ZeroDivisionError"),
    ],
)
def test_a_batch_that_is_not_as_asked_for_is_refused(one_call, batch, why):
    model, told = one_call(batch)
    assert told.startswith("ValueError:")
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(told)
    assert model.sizes == []
    assert len(model.batches) == 1


@pytest.fixture
def one_call(raw):
    def call(batch):
        def model(rows):
            return rows.sum(1) if float(rows[0, 0]) != 13 else 1 / 0

        served = Model(model, shape=(3,), dtype=torch.float32, most=8)
        server = raw(
            f"""
            import torch
            def serve(port, model):
                def handle(one):
                    question(one)
                    try:
                        said = repr(model({batch}))
                    except Exception as error:
                        said = type(error).__name__ + ": " + str(error)
                    body = said.encode()
                    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
                    one.close()
                each(port, handle)
            """,
            model=served,
        )
        return served, server.http("GET", "/").body.decode()

    return call


def test_a_model_in_a_forked_process_says_where_it_can_be_called(raw):
    model = Model(lambda batch: batch)
    server = raw(
        """
        def serve(port, model):
            server = listen(port)
            if os.fork() == 0:
                one, _ = server.accept()
                one, _ = server.accept()
                question(one)
                try:
                    model([1])
                except RuntimeError as error:
                    body = str(error).encode()
                    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
                os._exit(0)
            time.sleep(60)
        """,
        model=model,
    )
    assert b"not in one forked of it" in server.http("GET", "/").body
    assert model.batches == []


# gRPC.

GRPC = """
import asyncio, signal
import grpc

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/a.B/Back":
            async def back(message, context):
                if not message:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "nothing to turn")
                await asyncio.sleep(1.0 if len(message) == 2 else 0.0)
                return message[::-1]
            return grpc.unary_unary_rpc_method_handler(back)

def serve(port):
    async def main():
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Handler(),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        await over.wait()
        await server.stop(5)
    asyncio.run(main())
"""


def test_a_real_grpc_server_answers_errs_and_drains(submit):
    pytest.importorskip("grpc")
    pytest.importorskip("h2")
    with submit(GRPC).serve("work:serve") as server:
        assert server.grpc("a.B/Back", b"abc").body == b"cba"
        refused = server.grpc("a.B/Back", b"")
        assert (refused.status, refused.details) == (3, "nothing to turn")
        assert server.grpc("a.B/Forth", b"x").status == 12
        assert len(server.grpc("a.B/Back", bytes(1_000_000)).body) == 1_000_000
        load = server.load([Grpc("a.B/Back", b"%d" % n) for n in range(10, 20)])
        time.sleep(0.6)
        assert server.terminate(20).code == 0
        assert [reply.answer.body for reply in load.replies()] == [b"%d1" % n for n in range(10)]


H2 = "bytes.fromhex"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("one.sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')", "no HTTP/2"),
        ("one.sendall(bytes(9) * 20_000)", "no HTTP/2|more than 10,000 frames"),
        ("one.sendall(struct.pack('>IBI', 4 << 8, 0, 0) + bytes(4))", "no HTTP/2|closed the connection"),
        ("one.sendall(FIRST + PING * 20_000)", "more than 10,000 frames"),
        ("one.sendall(FIRST + SETTINGS * 20_000)", "more than 10,000 frames"),
        ("one.sendall(FIRST + GOAWAY)", "ended the connection"),
        ("one.sendall(FIRST + RESET)", "broke the call off"),
        ("one.sendall(FIRST)\n        time.sleep(30)", r"no answer within [\d.]+ s"),
        ("one.sendall(FIRST + HEAD + CONTINUED * 5_000)", "no HTTP/2"),
        ("one.sendall(FIRST + bytes([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]))", "no HTTP/2"),
    ],
)
def test_what_is_no_grpc_has_a_sentence(raw, code, why):
    pytest.importorskip("h2")
    server = raw(
        f"""
        FIRST = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        SETTINGS = FIRST
        PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
        GOAWAY = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + bytes([0, 0, 0, 1, 0, 0, 0, 2])
        RESET = bytes([0, 0, 4, 3, 0, 0, 0, 0, 1]) + bytes([0, 0, 0, 2])
        HEAD = bytes([0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88])
        CONTINUED = bytes([0, 0, 1, 9, 0, 0, 0, 0, 1, 0x88])
        def serve(port):
            def handle(one):
                one.recv(65536)
                {code.replace(chr(10) + "        ", chr(10) + " " * 16)}
                time.sleep(0.2)
                one.close()
            each(port, handle)
        """
    )
    with pytest.raises(StudentError, match=why):
        server.grpc("a.B/C", b"x", timeout=2)


def test_protobuf_goes_there_and_back_and_nonsense_is_refused():
    fields = [(1, "a url"), (2, 300), (3, write_fields((1, b"inner")))]
    assert read_fields(write_fields(*fields)) == [(1, b"a url"), (2, 300), (3, b"\n\x05inner")]
    for nonsense in (b"\x0a\xff", b"\x00", b"\x0b", b"\xff" * 12, b"\x0d\x01"):
        with pytest.raises(StudentError, match="no protobuf message"):
            read_fields(nonsense)


# Metrics and JSON.


def test_metrics_are_read_by_name_and_labels(answering):
    text = b'# HELP x y\nx_total 3.0\nx_bucket{le="+Inf"} 2 1700000000\ny NaN\n'
    found = answering(OK + b"\r\n" + text).metrics()
    assert found["x_total"] == 3.0
    assert found['x_bucket{le="+Inf"}'] == 2.0


@pytest.mark.parametrize("text", [b"x 1\nx 2\n", b"x one\n", b"{} 1\n", b"a" * 5000])
def test_metrics_that_are_none_are_refused(answering, text):
    with pytest.raises(StudentError, match="sample"):
        answering(OK + b"\r\n" + text).metrics()


@pytest.mark.parametrize(
    "text", [b"NaN", b"[" * 100_000, b"{", b"[" + b"1," * 2_000_000, b"1" * 5000, b"\xff"]
)
def test_json_that_is_none_is_refused(answering, text):
    with pytest.raises(StudentError, match="no JSON"):
        answering(OK + b"Content-Length: %d\r\n\r\n" % len(text) + text).json()


# Comparisons. The model takes its time; whoever asks it one by one is slower than who makes batches.

BATCHES = """
import json, queue, signal, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def serve(port, model, most=1, spoil=False):
    import torch
    waiting = queue.Queue()
    def work():
        while True:
            batch = [waiting.get()]
            while len(batch) < most:
                try:
                    batch.append(waiting.get(timeout=0.005))
                except queue.Empty:
                    break
            answers = model(torch.tensor([one for one, _ in batch], dtype=torch.float32)).tolist()
            for (_, box), answer in zip(batch, answers):
                box.put(-answer if spoil else answer)
    threading.Thread(target=work, daemon=True).start()
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            numbers, box = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), queue.Queue()
            waiting.put((numbers, box))
            body = json.dumps(box.get()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass
    ThreadingHTTPServer.request_queue_size = 500
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    signal.signal(signal.SIGTERM, lambda *args: threading.Thread(target=server.shutdown).start())
    server.serve_forever(0.01)

def alone(port, model): serve(port, model)
def eight(port, model): serve(port, model, 8)
def wrong(port, model): serve(port, model, 8, True)
"""


@pytest.fixture
def race(examiner, tmp_path, monkeypatch):
    """Return a function that compares `work:...` with the reference `slow:alone` or `slow:eight`."""
    from grader.sandbox.packed import Packed

    monkeypatch.setattr(compare, "FAST_FROM", 8)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "slow.py").write_text(BATCHES)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "work.py").write_text(BATCHES)
    packed = Packed(tmp_path / "work", ["work.py"])
    check = Check("c", "i", 1.0, 100.0, None, "", "", False, "S.", lambda sub: None)
    sub = Submission(
        *(examiner.place, packed, check),
        driver=None,
        memory=1 << 30,
        seed=1,
        references=tmp_path / "checks",
    )

    def verify(mine, right):
        for one, two in zip(mine, right, strict=True):
            expect_close(one.json(), two.json(), atol=1e-4, why="float32 sums of 3 terms")

    def run(target, against, threshold, **options):
        sub.compare_servers(
            target,
            lambda: [Http("POST", "/", sub.rng.normal((3,)).tolist()) for _ in range(8)],
            against=against,
            threshold=threshold,
            verify=verify,
            model=lambda: Model(lambda batch: batch.sum(1), fixed=0.006, each=0.0003),
            **options,
        )

    yield run
    packed.close()


@pytest.mark.alone
def test_batches_beat_one_by_one_and_the_other_way_round_fails(race):
    race("work:eight", "slow:alone", 1.3)
    race("work:eight", "slow:alone", 1.1, by="each")
    with pytest.raises(Failed, match="as fast as the reference"):
        race("work:alone", "slow:eight", 0.8)


@pytest.mark.alone
def test_a_fast_server_with_wrong_answers_fails(race):
    with pytest.raises(Failed, match="is off by"):
        race("work:wrong", "slow:alone", 1.3)


TWO_PORTS = BATCHES.replace(
    "def serve(port, model, most=1, spoil=False):",
    "def serve(http_port, grpc_port, model, most=4, spoil=False):",
)
TWO_PORTS = TWO_PORTS.replace(
    """            numbers, box = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), queue.Queue()
""",
    """            box = queue.Queue()
            try:
                numbers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["row"]
            except ValueError:
                self.send_error(400)
                return
""",
).replace(
    """    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
""",
    """    import socket
    grpc = socket.create_server(("127.0.0.1", grpc_port))
    server = ThreadingHTTPServer(("127.0.0.1", http_port), Handler)
    server.daemon_threads = False
""",
)


def test_the_check_of_the_guide_passes_a_batcher_and_no_other(examiner, tmp_path):
    from grader.sandbox.packed import Packed

    guide = (Path(__file__).parents[2] / "GUIDE.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(guide.partition("## A check of a server")[2].partition("```python\n")[2].partition("```")[0], names)
    for most in (4, 2):
        folder = tmp_path / str(most)
        folder.mkdir()
        text = TWO_PORTS.replace("most=4", f"most={most}").partition("\ndef alone")[0]
        (folder / "service.py").write_text(f"{text}\n    server.server_close()\n    grpc.close()\n")
        with contextlib.closing(Packed(folder)) as packed:
            check = Check("c", "i", 1.0, 60.0, None, "", "", False, "S.", lambda sub: None)
            sub = Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
            if most == 4:
                names["questions_share_batches_and_none_is_lost"](sub)
            else:
                with pytest.raises(Failed, match="batches of ten questions: 5"):
                    names["questions_share_batches_and_none_is_lost"](sub)


def test_a_child_that_was_there_before_the_call_is_left_behind_too(submit):
    """A process forked at import is the server's as much as one that it forks later."""
    sub = submit(
        "import os, signal, threading, time\nif os.fork() == 0:\n    time.sleep(100)\n"
        + RAW
        + "def serve(port):\n    s = listen(port)\n    ended = threading.Event()\n"
        "    signal.signal(signal.SIGTERM, lambda *a: ended.set())\n    while not ended.wait(0.01):\n"
        "        pass\n    s.close()\n",
        wall=30,
    )
    with sub.serve("work:serve") as server:
        ended = server.terminate(5)
    assert (ended.code, ended.listening) == (0, ())
    assert ended.survivors == 1
