"""NVIDIA's own client beside ours, in the Python of `.venv-triton`, where protocol buffers are older than 7.

.venv-triton/bin/python -m week07_inference_software.triton_peer 127.0.0.1:8000 digits
"""

import json
import sys
import time

import numpy as np

from week07_inference_software import kserve


def ask(address: str, model: str, images: np.ndarray):
    """A function that asks the server once, by `tritonclient`. Gives the scores."""
    import tritonclient.http as triton

    client = triton.InferenceServerClient(address)
    image = triton.InferInput("image", images.shape, "FP32")
    image.set_data_from_numpy(images)
    wanted = [triton.InferRequestedOutput(name) for name in ("scores", "rows")]
    return lambda: client.infer(model, [image], outputs=wanted).as_numpy("scores")


def main() -> None:
    """Print, as JSON, the greatest difference of the two answers and milliseconds of each in alternating rounds."""
    address, model = sys.argv[1:]
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    ours = kserve.HttpClient(address)
    clients = {
        "ours": lambda: ours.infer(model, {"image": images})["scores"],
        "tritonclient": ask(address, model, images),
    }
    difference = float(np.abs(clients["ours"]() - clients["tritonclient"]()).max())
    times: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(150):
        for name in list(clients) if number % 2 else list(clients)[::-1]:
            began = time.perf_counter()
            clients[name]()
            times[name].append(1e3 * (time.perf_counter() - began))
    print(json.dumps({"difference": difference, "times": {k: v[10:] for k, v in times.items()}}))


if __name__ == "__main__":
    main()
