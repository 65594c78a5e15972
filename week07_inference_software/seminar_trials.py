"""What the seminar's exercises are checked by, servers and a browser that answer, and how it loads a server."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
        alpha[0:90, 0:9], alpha[0:7, 0:25] = 255, 255
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
    """What clients saw: requests answered in a second, the median latency in ms, and the mean batch they ran in."""

    clients: int
    rate: float
    milliseconds: float
    rows: float


def closed_loop(address: str, model: str, clients: int, seconds: float = 0.5) -> Load:
    """Clients that each wait for an answer and ask again, one picture at a time.

    A closed loop, so that a server that stalls also stops the clients: good for what a server can do at most, not for
    the latency that users see (week 6).
    """
    image = {"image": digits.test_set()[0][:1]}
    found: list[tuple[float, int]] = []
    until = time.perf_counter() + seconds

    def ask():
        one = kserve.client(address)
        while time.perf_counter() < until:
            began = time.perf_counter()
            rows = one.infer(model, image)["rows"][0, 0]
            found.append((time.perf_counter() - began, int(rows)))
        one.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    latencies, rows = zip(*found, strict=True)
    return Load(clients, len(found) / took, 1e3 * float(np.median(latencies)), float(np.mean(rows)))


def sweep(
    address: str, models: Sequence[str], clients: Sequence[int], seconds: float = 0.5
) -> dict[str, list[Load]]:
    """`closed_loop` for each model and number of clients, the models by turns so that they share the machine's moods."""
    found: dict[str, list[Load]] = {model: [] for model in models}
    for count in clients:
        for model in models:
            found[model].append(closed_loop(address, model, count, seconds))
    return found


def peer(address: str, model: str) -> dict[str, Any]:
    """What `triton_peer` prints, run in `.venv-triton`."""
    program = nvidia_triton.ENVIRONMENT / "bin" / "python"
    line = [program, "-m", "week07_inference_software.triton_peer", address.removeprefix("http://"), model]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)
