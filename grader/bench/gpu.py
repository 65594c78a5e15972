"""What a GPU shows of the grader, in one command and under five minutes: `python -m grader.bench.gpu`.

It needs torch for CUDA, triton, NVIDIA's binding of NVML (`nvidia-ml-py`) and this repository; nothing else. Each
step stands alone: one that breaks is a sentence in the results, and the others go on. Nothing of the GPU is set or
reset. Without a GPU it says so, and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from grader.examine.cards import Card, Cards, title
from grader.examine.checks import Check, Failed, StudentError, Undecided, gather
from grader.examine.examiner import Examiner
from grader.examine.kernels.launching import Launch, Out
from grader.examine.submission import Submission
from grader.sandbox.build import SandboxError
from grader.sandbox.packed import Packed

LIMIT = 280.0  # seconds for all steps together
STARTS, SLOWER = 5, 1.3
BEGUN = 20.0  # seconds in which a grader's job begins to compute
WORK = '''
"""What runs in the sandbox; `on` is "cuda", or "cpu" where the steps themselves are tested."""
import os
import time

import torch


def wait(on):
    if on == "cuda":
        torch.cuda.synchronize()


def first_product(a, b, on):
    return (torch.as_tensor(a).to(on) @ torch.as_tensor(b).to(on)).cpu()


def sees(on):
    others = {}
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidia-uvm-tools", "nvidia-modeset"):
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDWR))
            others[name] = "opens"
        except OSError as error:
            others[name] = error.strerror
    return {
        "devices": torch.cuda.device_count(),
        "nodes": sorted(name for name in os.listdir("/dev") if name.startswith("nvidia")),
        "opens": others,
    }


def holds(mib, seconds, on):
    block = torch.ones(mib << 20, dtype=torch.uint8, device=on)
    wait(on)
    time.sleep(seconds)
    return torch.cuda.max_memory_allocated() if on == "cuda" else block.numel()


def timed(run, on, rounds):
    run()
    wait(on)
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        wait(on)
        best = min(best, time.perf_counter() - begin)
    return best


def bandwidth(mib, on):
    source = torch.ones(mib << 20, dtype=torch.uint8, device=on)
    target = torch.empty_like(source)
    return 2 * source.numel() / timed(lambda: target.copy_(source), on, 20)


def flops(size, on):
    a = torch.ones(size, size, dtype=torch.bfloat16, device=on)
    return 2 * size**3 / timed(lambda: a @ a, on, 10)


def square(x, on):
    x = torch.as_tensor(x).to(on)
    for _ in range(50):
        x = torch.tanh(x)
    return x.cpu()


def square_slowly(x, on):
    x = torch.as_tensor(x).to(on)
    for _ in range(50):
        x = torch.tanh(x)
    for _ in range(150):
        torch.tanh(x)
    return x.cpu()


def fused(rows, columns, on):
    import triton
    import kernel

    x = torch.randn(rows, columns, device=on)
    out = torch.empty_like(x)
    kernel.softmax[(rows,)](x, out, columns, triton.next_power_of_2(columns))
    wait(on)
    return float((out - torch.softmax(x, 1)).abs().max())


def stays(on):
    block = torch.ones(64 << 20, dtype=torch.uint8, device=on)
    while True:
        block.add_(1)
        time.sleep(0.01)
'''
KERNEL = """
import triton
import triton.language as tl


@triton.jit
def softmax(x, out, columns, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    values = tl.load(x + row * columns + at, mask=at < columns, other=-float("inf"))
    powers = tl.exp(values - tl.max(values, 0))
    tl.store(out + row * columns + at, powers / tl.sum(powers, 0), mask=at < columns)
"""
# A grader of its own, to be killed: its arguments are the folder of the work, and what `Cards` is told.
KILLED = """
import json, sys
from pathlib import Path
from grader.bench.gpu import Bench
from grader.examine.cards import Cards
from grader.examine.examiner import Examiner
from grader.sandbox.lease import Locks

told = json.loads(sys.argv[1])
cards = Cards(locks=Locks(Path(told["locks"])), dev=told["dev"], proc=told["proc"])
with Examiner("namespaces") as examiner, cards.lease(60) as card:
    bench = Bench(examiner, cards, card, Path(told["folder"]), told["on"], 600)
    print("begins", flush=True)
    bench.call("stays", told["on"])
"""


class Bench:
    """The steps, and what they share: a leased GPU and an examiner."""

    def __init__(
        self,
        examiner: Examiner,
        cards: Cards,
        card: Card,
        folder: Path,
        on: str = "cuda",
        limit: float = LIMIT,
    ):
        self.examiner, self.cards, self.card, self.folder, self.on = examiner, cards, card, folder, on
        self._end = time.perf_counter() + limit
        folder.mkdir(exist_ok=True)
        (folder / "work.py").write_text(WORK)
        (folder / "kernel.py").write_text(KERNEL)
        self.scale = 1 if on == "cuda" else 64  # so much smaller where no GPU computes

    def submission(self, packed: Packed) -> Submission:
        """Return the work as a check is given a submission; raises TimeoutError when the time is over."""
        left = self._end - time.perf_counter()
        if left <= 0:
            raise TimeoutError("not run: the steps before it took all the time")
        check = Check("bench", "item", 1.0, left, None, "", "", False, "Bench.", lambda sub: None)
        return Submission(
            *(self.examiner.place, packed, check),
            driver=None,
            memory=8 << 30,
            seed=1,
            references=self.folder,
            card=self.card,
        )

    def call(self, function: str, *args: Any) -> Any:
        """Return the `Run` of one function of the work."""
        with contextlib.closing(Packed(self.folder, ["work.py", "kernel.py"])) as packed:
            return self.submission(packed).call(f"work:{function}", *args)

    def attaches(self) -> dict[str, Any]:
        """A worker in its sandbox multiplies on the GPU; seconds from the request for it to its end."""
        a, b = torch.randn(256, 256), torch.randn(256, 256)
        times, error = [], 0.0
        for _ in range(STARTS):
            begin = time.perf_counter()
            found = self.call("first_product", a, b, self.on).result
            times.append(time.perf_counter() - begin)
            error = max(error, float((torch.as_tensor(found) - a @ b).abs().max()))
        return {"seconds, median": statistics.median(times), "seconds": times, "largest error": error}

    def sees(self) -> dict[str, Any]:
        """What of GPUs there is in the sandbox."""
        return self.call("sees", self.on).result

    def peak_memory(self) -> dict[str, Any]:
        """A block that is held for half a second: what NVML sees from outside, and what torch says within."""
        mib = 1024 // self.scale
        run = self.call("holds", mib, 0.5, self.on)
        return {"asked (MiB)": mib, "NVML (bytes)": run.peak_gpu_memory, "torch (bytes)": run.result}

    def clean_after_a_job(self) -> dict[str, Any]:
        """Seconds from the end of a job until the GPU may have the next."""
        self.call("holds", 1024 // self.scale, 0.0, self.on)
        begin = time.perf_counter()
        while why := self.card.unclean():
            if time.perf_counter() - begin > 60:
                return {"unclean": why}
            time.sleep(0.005)
        return {"seconds": time.perf_counter() - begin}

    def ceilings(self) -> dict[str, Any]:
        """The card's own bounds, measured in a worker, and its clocks before and after."""
        before = self.cards.nvml.clocks(self.card.device)
        found = {
            "bytes/s": self.call("bandwidth", 1024 // self.scale, self.on).result,
            "bf16 FLOP/s": self.call("flops", 8192 // self.scale, self.on).result,
        }
        return {**found, "clocks (MHz)": [before, self.cards.nvml.clocks(self.card.device)]}

    def compares(self) -> dict[str, Any]:
        """`sub.compare` on one card: work against itself must not lose, and work that is slower must not win."""
        told = {}
        for name in ("square", "square_slowly"):
            with contextlib.closing(Packed(self.folder, ["work.py"])) as packed, gather() as evidence:
                try:
                    self.submission(packed).compare(
                        f"work:{name}",
                        lambda: [torch.randn((1 << 20) // self.scale), self.on],
                        against="work:square",
                        threshold=1 / SLOWER,
                        verify=_equal,
                        clock="wall",
                        least=lambda arguments: (
                            8 * arguments[0].numel(),
                            0,
                        ),  # what comes in, and what goes out
                    )
                    verdict = "pass"
                except (Failed, Undecided) as error:
                    verdict = f"{type(error).__name__}: {error}"
            told[name] = {"verdict": verdict, "measured": evidence.measured}
        return told

    def triton(self) -> dict[str, Any]:
        """A Triton kernel, compiled and launched inside the sandbox."""
        return {"largest error": self.call("fused", 1024 // self.scale, 1000, self.on).result}

    def launches(self) -> dict[str, Any]:
        """A kernel as data: compiled apart from the card, launched by a process of ours, and raced against itself."""
        rows, columns = 16384 // self.scale, 1000  # 62 MiB in, as much out

        def launch() -> Launch:
            return Launch(
                [torch.randn(rows, columns), Out((rows, columns)), columns], [rows], {"BLOCK": 1024}
            )

        with contextlib.closing(Packed(self.folder, ["kernel.py"])) as packed, gather() as evidence:
            sub, one = self.submission(packed), launch()
            written = sub.launch("kernel:softmax", one)
            if written is None:
                return {"broke": str(evidence.missing)}
            error = float((written[0] - torch.softmax(one.arguments[0], 1)).abs().max())
            try:
                options = {"against": "kernel:softmax", "threshold": 1 / SLOWER, "verify": _equal_lists}
                sub.compare_launches("kernel:softmax", launch, **options)
                verdict = "pass"
            except (Failed, Undecided) as failed:
                verdict = f"{type(failed).__name__}: {failed}"
        return {"largest error": error, "verdict": verdict, "measured": evidence.measured}


STEPS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "a worker attaches": Bench.attaches,
    "what the sandbox has": Bench.sees,
    "peak memory": Bench.peak_memory,
    "clean after a job": Bench.clean_after_a_job,
    "ceilings": Bench.ceilings,
    "comparison": Bench.compares,
    "Triton": Bench.triton,
    "kernels as data": Bench.launches,
}


def _equal(result: Any, reference: Any) -> None:
    if not torch.equal(torch.as_tensor(result), torch.as_tensor(reference)):
        raise Failed("the results differ")


def _equal_lists(result: Any, reference: Any) -> None:
    _equal(result[0], reference[0])


def killed(folder: Path, options: dict[str, str], cards: Cards) -> dict[str, Any]:
    """Kill a grader whose job computes: seconds until the GPU is leased to another, clean."""
    code = [sys.executable, "-c", KILLED, json.dumps({**options, "folder": str(folder / "killed")})]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        code, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as process:
        assert process.stdout is not None  # a pipe was asked for
        said = process.stdout.readline().strip()
        device, end = cards.usable()[0][0][0], time.monotonic() + BEGUN
        while not cards.nvml.processes(device) and time.monotonic() < end:
            time.sleep(0.05)
        computed, lease = bool(cards.nvml.processes(device)), cards.locks.try_lease(device.uuid)
        if lease is not None:
            lease.close()
        process.kill()
        begin = time.perf_counter()
    with cards.lease(60):
        seconds = time.perf_counter() - begin
    told = {"begun": said == "begins", "computed": computed, "held while it ran": lease is None}
    return {**told, "seconds until clean and leased": seconds}


def run(cards: Cards, folder: Path, told: dict[str, str]) -> dict[str, Any]:
    """Return the results of every step; `told` is what another grader must know, and what it computes on."""
    results: dict[str, Any] = {}

    def step(name: str, measure: Callable[[], dict[str, Any]]) -> None:
        begin = time.perf_counter()
        try:
            found = measure()
        except (StudentError, SandboxError, OSError, TimeoutError) as error:
            found = {"broke": f"{type(error).__name__}: {error}"}
        results[name] = {**found, "took (s)": round(time.perf_counter() - begin, 2)}
        print(f"{name}: {json.dumps(results[name], default=str)}", flush=True)

    with Examiner("namespaces") as examiner, cards.lease(60) as card:
        results["GPU"] = {"title": title(card.device), "bytes": card.device.memory}
        bench = Bench(examiner, cards, card, folder / "work", told["on"])
        for name, measure in STEPS.items():
            step(name, lambda measure=measure: measure(bench))
    step("a killed grader", lambda: killed(folder, told, cards))
    return results


def main() -> int:
    """Run the steps and write the results file; returns the exit code, 1 where there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to", type=Path, help="results file; default: beside this module, by the GPU's name"
    )
    options = parser.parse_args()
    try:
        cards = Cards()
        if not torch.cuda.is_available():
            raise SandboxError(f"torch {torch.__version__} cannot use a GPU here; install one for CUDA")
        with tempfile.TemporaryDirectory() as folder:
            told = {
                "locks": str(cards.locks.folder),
                "dev": "/dev",
                "proc": "/proc/driver/nvidia",
                "on": "cuda",
            }
            results = run(cards, Path(folder), told)
    except ImportError as error:
        print(f"{error}; install nvidia-ml-py, NVIDIA's binding of NVML", file=sys.stderr)
        return 1
    except SandboxError as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 1
    name = re.sub(r"\W+", "-", results["GPU"]["title"].partition("(")[2].partition(",")[0]).strip("-").lower()
    path = options.to or Path(__file__).parent / "results" / f"gpu-{name}.json"
    results["versions"] = {"python": sys.version.split()[0], "torch": torch.__version__}
    path.write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    print(f"results: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
