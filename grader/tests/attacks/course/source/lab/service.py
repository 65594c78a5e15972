"""Serves a model that only the examiner has."""

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """Answers every question in a thread of its own, and ends when all are answered."""

    request_queue_size = 500
    daemon_threads = False
    answered = 0


class Handler(BaseHTTPRequestHandler):
    """POST /sum takes a list of numbers, GET /metrics tells how many were answered."""

    def do_POST(self) -> None:
        """Answer with what the model says of the numbers."""
        import torch

        numbers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        value = float(self.server.model(torch.tensor([numbers], dtype=torch.float32))[0])
        self.say(json.dumps({"sum": value}))
        self.server.answered += 1

    def do_GET(self) -> None:
        """Answer with the metrics."""
        self.say(f"answers_total {self.server.answered}\n")

    def say(self, text: str) -> None:
        """Send a text as an answer."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def serve(port: int, model: object) -> None:
    """Serve until SIGTERM, and answer what has been asked by then."""
    service = Service(("127.0.0.1", port), Handler)
    service.model = model
    signal.signal(signal.SIGTERM, lambda *args: threading.Thread(target=service.shutdown).start())
    service.serve_forever(0.02)
    service.server_close()
