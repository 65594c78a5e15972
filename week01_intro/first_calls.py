"""Time the first calls of one operation in a fresh process, and print them as JSON (seconds).

A separate process, because in a notebook some earlier cell has already loaded the libraries, started the
threads and touched the memory that the first call has to pay for. Run it: ``python first_calls.py 30``.
"""

import json
import subprocess
import sys
import time

import torch


def first_calls(count: int) -> list[float]:
    """Seconds of each of the first ``count`` calls of a convolution in this process, synchronised."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    images = torch.randn(2, 16, 16, 16, device=device)
    weight = torch.randn(16, 16, 3, 3, device=device)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        torch.nn.functional.conv2d(images, weight, padding=1)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times


def in_fresh_process(count: int) -> list[float]:
    """The times of :func:`first_calls` in a new Python process. Raises CalledProcessError if it fails."""
    run = subprocess.run([sys.executable, __file__, str(count)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


if __name__ == "__main__":
    print(json.dumps(first_calls(int(sys.argv[1]))))
