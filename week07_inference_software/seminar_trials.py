"""What the seminar's exercises are checked by, servers and a browser that answer, and how a server is loaded."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effdl.load import Http, open_loop
from week07_inference_software import digits, kserve, nvidia_triton, repository, web


def scores(rows: int) -> np.ndarray:
    """What PyTorch says of the first pictures of the test set, (rows, 10)."""
    return digits.answers(digits.trained(), digits.test_set()[0][:rows])


def request(yours: Callable, address: str, model: str) -> Callable[[int], np.ndarray]:
    """Exercise A: the scores that the server at `address` (http://...) answers to your headers and body."""

    def trial(rows):
        one = kserve.client(address)
        try:
            headers, body = yours({"image": digits.test_set()[0][:rows]})
            answer = one.call("POST", f"/v2/models/{model}/infer", headers, body)
            return kserve.unpack("outputs", *answer)["scores"]
        finally:
            one.close()

    return trial


def answer(yours: Callable, address: str, model: str) -> Callable[[str, int, bool], np.ndarray]:
    """Exercise B: what your parser finds in a real answer under the name of an output."""

    def trial(name, rows, binary):
        one = kserve.client(address)
        try:
            headers, body = kserve.pack("inputs", {"image": digits.test_set()[0][:rows]})
            if not binary:
                body = body.replace(b'"binary_data_output":true', b'"binary_data_output":false')
                headers[kserve.LENGTH] = str(int(headers[kserve.LENGTH]) + 1)
            found = one.call("POST", f"/v2/models/{model}/infer", headers, body)
            return np.asarray(yours(*found)[name])
        finally:
            one.close()

    return trial


def together(address: str, model: str, count: int, rows: int = 1) -> list[int]:
    """Send `count` requests of some rows at one moment. How many rows the network ran on, for each answer.

    Raises what the first request that failed raised.
    """
    images, barrier = digits.test_set()[0][:rows], threading.Barrier(count)
    seen: list[int] = []
    failed: list[Exception] = []

    def ask():
        one = kserve.client(address)
        try:
            one.ready()  # connects
            barrier.wait()
            seen.append(int(one.infer(model, {"image": images})["rows"][0, 0]))
        except Exception as error:  # told by the thread that waits for all
            failed.append(error)
        finally:
            one.close()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(seen)


def configuration(yours: Callable, folder: Path, address: str) -> Callable[[int, int, int, int], Any]:
    """Exercise C: load a model with your config.pbtxt, send requests at one moment, give the batches they ran in.

    The answer is "refused" where the server does not take the request, as with more rows than a batch may have.
    """

    def trial(most, delay, count, rows):
        name = "mine"
        repository.write(folder, name, yours(name, most, delay))
        one = kserve.client(address)
        try:
            one.load(name)
        finally:
            one.close()
        try:
            return together(address, name, count, rows)
        except kserve.Refused as error:
            if error.status != 400:
                raise
            return "refused"

    return trial


def drawing(kind: str) -> np.ndarray:
    """A drawing (height, width, 4) of uint8: "two strokes", "wide", "at the edge", "one point" or "empty"."""
    height, width = {"wide": (60, 110)}.get(kind, (96, 80))
    rgba = np.zeros((height, width, 4), np.uint8)
    alpha = rgba[:, :, 3]
    if kind == "two strokes":
        alpha[20:70, 30:38], alpha[40:47, 12:60] = 255, 200
        alpha[19, 30:38] = 90  # the soft edge of a stroke, too light for ink
    elif kind == "wide":
        alpha[25:36, 5:104] = 255
    elif kind == "at the edge":
        alpha[:, :6], alpha[:, -6:] = 255, 255  # the square around it is wider than the drawing
    elif kind == "one point":
        alpha[50, 33] = 255
    return rgba


def javascript(yours: Callable[[], str], tab: web.Tab | None) -> Callable[[str], np.ndarray]:
    """Exercise D: the 64 numbers that your JavaScript makes of a drawing, in the browser."""

    def trial(kind):
        source = yours()
        if tab is None:
            raise RuntimeError(f"needs {web.NEEDS_BROWSER}")
        return tab.prepare(drawing(kind), source)

    return trial


def weights(yours: Callable[[dict], dict], tab: web.Tab | None, models: Path) -> Callable[[int], np.ndarray]:
    """Exercise E: the scores that TensorFlow.js gives with your weights, in a page that was loaded anew."""

    def trial(rows):
        model = digits.trained()
        given = {name: value.numpy() for name, value in model.state_dict().items()}
        found = yours(given)
        if tab is None:
            raise RuntimeError(f"needs {web.NEEDS_BROWSER}")
        try:
            digits.write_tfjs(models / "tfjs", found)
            tab.open()
            return tab.run("tfjs", digits.test_set()[0][:rows])
        finally:
            digits.write_tfjs(models / "tfjs", digits.tfjs_weights(given))
            tab.open()

    return trial


@dataclass(frozen=True)
class Load:
    """What an open loop saw of a model: requests a second, median and 99th percentile in ms, the mean batch."""

    rate: float
    median: float
    p99: float
    rows: float
    failed: int
    late: float  # ms by which the generator itself was late (p99)


def load(address: str, model: str, rate: float, seconds: float = 0.6) -> Load:
    """One picture in each request, sent at random times whether or not earlier ones were answered.

    Latencies count from the intended send. The mean batch is that of the answers, which say how many rows each was
    computed with.
    """
    headers, body = kserve.pack("inputs", {"image": digits.test_set()[0][:1]})
    rows: list[int] = []

    def read(answer, _):
        if answer.status != 200:
            return str(answer.status)
        rows.append(int(kserve.unpack("outputs", answer.headers, answer.body)["rows"][0, 0]))
        return None

    send = Http(f"{address}/v2/models/{model}/infer", body, headers=headers, read=read)
    seen = open_loop(send, rate, seconds)
    quantiles = (1e3 * seen.quantile(share) for share in (0.5, 0.99))
    return Load(rate, *quantiles, sum(rows) / max(len(rows), 1), seen.failed, 1e3 * seen.late())


def sweep(address: str, models: Sequence[str], rates: Sequence[float]) -> dict[str, list[Load]]:
    """`load` for each model and rate; models take turns, so that they share what else the machine does."""
    found: dict[str, list[Load]] = {model: [] for model in models}
    for rate in rates:
        for model in models:
            found[model].append(load(address, model, rate))
    return found


def burst(address: str, model: str, count: int = 64) -> None:
    """Send so many pictures at one moment, each in a request of its own, and wait for all answers.

    Raises RuntimeError if one is not answered well.
    """
    headers, body = kserve.pack("inputs", {"image": digits.test_set()[0][:1]})
    send = Http(f"{address}/v2/models/{model}/infer", body, headers=headers)
    seen = open_loop(send, times=np.zeros(count))
    if seen.failed:
        raise RuntimeError(f"{model} failed: {seen.errors}")


def loop_in_the_model(folder: Path, address: str, count: int = 16) -> tuple[int, int]:
    """Load a model whose `model.py` runs each request alone, and send a full batch at one moment.

    Returns the largest batch in the server's statistics, and the most rows that any answer was computed with.
    """
    parameter = 'parameters { key: "one_by_one" value { string_value: "yes" } }\n'
    repository.write(folder, "loop", repository.config("loop", count, 2_000_000, parameter))
    one = kserve.HttpClient(address.removeprefix("http://"))
    try:
        one.load("loop")
        rows = together(address, "loop", count)
        # The server counts a batch after it has answered; on a busy machine that may take a moment.
        for _ in range(100):
            if counted := one.statistics("loop")["batch_stats"]:
                break
            time.sleep(0.1)
        return max(batch["batch_size"] for batch in counted), max(rows)
    finally:
        one.close()


def wrong_pages(tab: web.Tab) -> dict[str, float]:
    """The share of the test set that the browser reads rightly, with the right input and with four wrong ones."""
    images, labels = digits.test_set()
    ways = {
        "as the training data were made": images,
        "counts from 0 to 16, not divided": images * digits.HIGHEST,
        "white on black taken for black on white": 1 - images,
        "columns before rows": images.transpose(0, 1, 3, 2),
        "upside down (y grows upwards)": images[:, :, ::-1],
    }
    found = {}
    for name, batch in ways.items():
        answers = tab.run("onnx", np.ascontiguousarray(batch)).argmax(axis=1)
        found[name] = float((answers == labels).mean())
    return found


def visit(tab: web.Tab, site: web.Site) -> dict[str, int]:
    """Bytes by path of one visit in which both engines are used."""
    site.sent.clear()
    tab.open()
    for engine in ("onnx", "tfjs"):
        tab.run(engine, digits.test_set()[0][:1])
    return dict(site.sent)


def peer(address: str, model: str) -> dict[str, Any]:
    """What `triton_peer` prints, run in `.venv-triton`."""
    program = nvidia_triton.ENVIRONMENT / "bin" / "python"
    line = [program, "-m", "week07_inference_software.triton_peer", address.removeprefix("http://"), model]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)
