# replaces: service.py
# method: a thread for each connection (http.server), and a thread of its own that makes the batches
import contextlib
import json
import signal
import socket
import threading
import time
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIDE = 8
MOST_BYTES = 65_536
BUCKETS = (1, 2, 4, 8, 16)


class Full(Exception):
    pass


class Ends(Exception):
    pass


class Batches(threading.Thread):
    def __init__(self, model, max_batch, max_wait, max_queue):
        super().__init__(daemon=True)
        self.model, self.max_batch, self.max_wait, self.max_queue = model, max_batch, max_wait, max_queue
        self.line, self.changed = [], threading.Condition()
        self.ready = self.ends = False
        self.sizes = []

    def predict(self, image):
        with self.changed:
            if self.ends or not self.ready:
                raise Ends
            if len(self.line) >= self.max_queue:
                raise Full
            future = Future()
            self.line.append((time.monotonic(), image, future))
            self.changed.notify()
        return future.result()

    def end(self):
        with self.changed:
            self.ends = True
            self.changed.notify()

    def due(self):
        return self.ends or len(self.line) >= self.max_batch

    def run(self):
        self.model([[[0] * SIDE for _ in range(SIDE)]])
        self.ready = True
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.line or self.ends)
                if not self.line:
                    return
                self.changed.wait_for(self.due, self.line[0][0] + self.max_wait - time.monotonic())
                batch, self.line = self.line[: self.max_batch], self.line[self.max_batch :]
            try:
                names = self.model([image for _, image, _ in batch])
                self.sizes.append(len(batch))
                for (_, _, future), one in zip(batch, names, strict=True):
                    future.set_result(one)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)


def valid(asked):
    if not isinstance(asked, dict):
        return False
    image = asked.get("image")
    rows = image if isinstance(image, list) and len(image) == SIDE else [None]
    return all(
        isinstance(row, list) and len(row) == SIDE and all(type(p) is int and p in range(256) for p in row)
        for row in rows
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def parse_request(self):
        self.server.busy(self, True)
        return super().parse_request()

    def handle_one_request(self):
        super().handle_one_request()
        self.server.busy(self, False)
        self.close_connection = self.close_connection or self.server.batches.ends

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        if self.server.batches.ends:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/healthz":
            self.say(200)
        elif self.path == "/readyz":
            self.say(200 if self.server.batches.ready and not self.server.batches.ends else 503)
        elif self.path == "/metrics":
            self.say(200, self.server.metrics().encode(), Content_Type="text/plain; version=0.0.4")
        else:
            self.say(405 if self.path == "/predict" else 404)

    def do_POST(self):
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if length < 0 or length > MOST_BYTES:
            self.close_connection = True
            self.say(413 if length > 0 else 400, Connection="close")
            return
        body = self.rfile.read(length)
        if self.path != "/predict":
            self.say(405 if self.path in ("/healthz", "/readyz", "/metrics") else 404)
            return
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            self.say(400)
            return
        if not valid(asked):
            self.say(422)
            return
        try:
            names = self.server.batches.predict(asked["image"])
        except Full:
            self.say(429, Retry_After="1")
        except Ends:
            self.say(503)
        except Exception:
            self.say(500)
        else:
            with self.server.lock:
                self.server.answered += 1
            self.say(200, json.dumps({"objects": names}).encode(), Content_Type="application/json")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, port, batches):
        self.batches, self.answered, self.lock = batches, 0, threading.Lock()
        self.open, self.working = set(), set()
        super().__init__(("127.0.0.1", port), Handler)

    def busy(self, handler, now):
        with self.lock:
            (self.working.add if now else self.working.discard)(handler.connection)

    def process_request_thread(self, request, address):
        with self.lock:
            self.open.add(request)
        try:
            super().process_request_thread(request, address)
        finally:
            with self.lock:
                self.open.discard(request)
                self.working.discard(request)

    def handle_error(self, request, address):
        pass

    def metrics(self):
        sizes = list(self.batches.sizes)
        lines = ["# TYPE app_http_inference_count_total counter"]
        lines += [f"app_http_inference_count_total {float(self.answered)}"]
        lines += ["# TYPE app_model_batch_size histogram"]
        for bound in BUCKETS:
            count = sum(size <= bound for size in sizes)
            lines.append(f'app_model_batch_size_bucket{{le="{float(bound)}"}} {count}')
        lines.append(f'app_model_batch_size_bucket{{le="+Inf"}} {len(sizes)}')
        lines += [f"app_model_batch_size_sum {sum(sizes)}", f"app_model_batch_size_count {len(sizes)}"]
        return "\n".join(lines) + "\n"


def serve(model, port, max_batch, max_wait, max_queue):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    batches = Batches(model, max_batch, max_wait, max_queue)
    server = Server(port, batches)
    listener = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    listener.start()
    batches.start()
    stop.wait()
    server.shutdown()
    server.server_close()
    batches.end()
    batches.join()
    until = time.monotonic() + 1
    while server.working and time.monotonic() < until:
        time.sleep(0.01)
    for connection in list(server.open):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
