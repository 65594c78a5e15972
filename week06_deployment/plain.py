"""The smallest server of the model: Python's own, in thirty lines. `python -m week06_deployment.plain`"""

import io
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
from PIL import Image

from week06_deployment.service.batcher import Stub


class Handler(BaseHTTPRequestHandler):
    """Answers POST with the digit of the picture in the body, and looks at nothing."""

    model = staticmethod(Stub(0.003))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        image = Image.open(io.BytesIO(body)).convert("L").resize((8, 8))
        row = self.model(np.asarray(image, np.float32)[None] / 255)[0]
        answer = json.dumps({"digit": int(row.argmax())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Print nothing."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print("http://{}:{}".format(*server.server_address), flush=True)
    server.serve_forever()
