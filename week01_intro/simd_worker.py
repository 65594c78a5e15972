"""Time small PyTorch operations on request: the process that ``hardware.simd_seconds`` starts twice.

Reads the name of an operation per line of standard input; answers with the seconds of one call.
"""

import sys
import time

import torch

CALLS = 200


def main():
    """Serve until standard input ends. One thread; 4,096 float32 values, which stay in the L1 cache."""
    torch.set_num_threads(1)
    x = torch.linspace(-4, 4, 4096)
    out = torch.empty_like(x)
    operations = {
        "add": lambda: torch.add(x, x, out=out),
        "sigmoid": lambda: torch.sigmoid(x, out=out),
    }
    for line in sys.stdin:
        operation = operations[line.strip()]
        start = time.perf_counter()
        for _ in range(CALLS):
            operation()
        print((time.perf_counter() - start) / CALLS, flush=True)


if __name__ == "__main__":
    main()
