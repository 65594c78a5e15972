"""A training run that may be killed at any moment: sharded weights, own Adam, dropout, a checkpoint now and then.

`torchrun --standalone --nproc-per-node=2 --max-restarts=1 -m week04_large_models.training_run FOLDER 24 6 9` trains
24 steps with a checkpoint after each 6, and kills a rank within step 9 of the first attempt; torchrun starts again.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models import sharded_checkpoint
from week04_large_models.sharded_checkpoint import Piece
from week04_large_models.sharding import FullySharded

CONFIG = Config(length=32, width=48, heads=4, blocks=3, dropout=0.1)
BATCH = 12  # sequences of all ranks together


class Adam:
    """Adam on whatever tensors it is given, here shards: each rank keeps the moments of its own part only.

    A gradient that is zero but for rounding (that of the keys' biases is) must not become a step of full size, so
    `EPSILON` is larger than in the paper. Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-5

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float):
        self.parameters, self.lr = list(parameters), lr
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, and clear these."""
        self.steps += 1
        shrink1, shrink2 = 1 - self.BETA1**self.steps, 1 - self.BETA2**self.steps
        for p, (first, second) in zip(self.parameters, self.moments, strict=True):
            first.lerp_(p.grad, 1 - self.BETA1)
            second.lerp_(p.grad.square(), 1 - self.BETA2)
            p -= self.lr / shrink1 * first / ((second / shrink2).sqrt() + self.EPSILON)
            p.grad = None


class Run:
    """Everything that a training run consists of, on one rank."""

    def __init__(self, config: Config = CONFIG, lr: float = 3e-3):
        model = Transformer(config)
        self.config, self.model = config, FullySharded(model, model.chain)
        self.optimizer = Adam(self.model.parameters(), lr)
        torch.manual_seed(dist.get_rank())  # every rank drops something else
        self.next = 0

    def gradients(self) -> float:
        """Loss and gradients of the batch that belongs to the next step; return the mean loss of all ranks."""
        tokens, targets = text_batch(self.next, BATCH, self.config.length)
        share = slice(dist.get_rank(), None, dist.get_world_size())
        loss = next_token_loss(self.model(tokens[share]), targets[share])
        loss.backward()
        self.model.finish()
        mean = loss.detach()
        dist.all_reduce(mean)
        return (mean / dist.get_world_size()).item()

    def update(self) -> None:
        """Change the weights: the end of a step."""
        self.optimizer.step()
        self.next += 1

    def state(self) -> dict[str, Piece]:
        """What this rank must write down: its shards, their moments, and where its random numbers are."""
        pieces = {}
        for number, (unit, moments) in enumerate(zip(self.model.units, self.optimizer.moments, strict=True)):
            start, end = _share(unit.size)
            for kind, values in zip(("weights", "first", "second"), (unit.shard, *moments), strict=True):
                pieces[f"{number}/{kind}"] = Piece(values[: end - start], start, unit.size)
        pieces[f"random/{dist.get_rank()}"] = _all_of(torch.get_rng_state())
        return pieces

    @torch.no_grad()
    def load(self, folder: str | Path, step: int) -> None:
        """Continue where the run that wrote checkpoint `step` stood, with as many ranks as there are now.

        The random state continues as well, if there are as many ranks as there were.
        """
        wanted = {}
        for number, unit in enumerate(self.model.units):
            wanted |= {f"{number}/{kind}": _share(unit.size) for kind in ("weights", "first", "second")}
        there = sharded_checkpoint.lengths(folder, step)
        ranks = sum(name.startswith("random/") for name in there)
        random = f"random/{dist.get_rank()}"
        if ranks == dist.get_world_size():
            wanted[random] = (0, there[random])
        values = sharded_checkpoint.load(folder, step, wanted)
        for number, (unit, moments) in enumerate(zip(self.model.units, self.optimizer.moments, strict=True)):
            for kind, place in zip(("weights", "first", "second"), (unit.shard, *moments), strict=True):
                place[: len(values[f"{number}/{kind}"])] = values[f"{number}/{kind}"]
        if random in values:
            torch.set_rng_state(values[random])
        self.next = self.optimizer.steps = step


def train_on_rank(
    folder: str | Path,
    steps: int,
    every: int,
    killed: tuple[str, int] | None = None,
    config: Config = CONFIG,
) -> None:
    """Train until `steps` steps are done, from the newest checkpoint in `folder` on, with one after `every` steps.

    The checkpoint may be of another number of ranks.

    Rank 0 adds each loss to `losses.jsonl` in `folder`. `killed` ends the last rank with SIGKILL: ("step", k) within
    step k, when its gradients are there and no weight has changed; ("save", k) when it has written its part of
    checkpoint k and others may not have.
    """
    run, begin = Run(config), sharded_checkpoint.latest(folder) or 0
    if begin:
        run.load(folder, begin)
    victim = dist.get_rank() == dist.get_world_size() - 1
    while run.next < steps:
        loss = run.gradients()
        if victim and killed == ("step", run.next):
            os.kill(os.getpid(), signal.SIGKILL)
        if dist.get_rank() == 0:
            with open(Path(folder) / "losses.jsonl", "a") as file:
                file.write(json.dumps({"step": run.next, "loss": loss, "from": begin}) + "\n")
        run.update()
        if run.next % every == 0:
            sharded_checkpoint.write(folder, run.next, run.state())
            if victim and killed == ("save", run.next):
                os.kill(os.getpid(), signal.SIGKILL)
            sharded_checkpoint.commit(folder, run.next)


def under_torchrun(folder: str | Path, steps: int, every: int, kill: int, ranks: int = 2) -> str:
    """Train under torchrun, which sees a rank die within step `kill` and starts all of them again; return its log."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["--max-restarts=1", "--monitor-interval=0.1", "-m", __spec__.name]
    more = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0", "OMP_NUM_THREADS": "1"}
    # In one store for all attempts (torch 2.13) new ranks may find the addresses of dead ones.
    more["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with subprocess.Popen(
        [*command, str(folder), str(steps), str(every), str(kill)],
        env={**os.environ, **more},
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as torchrun:
        try:
            log = torchrun.communicate(timeout=150)[1]
        finally:
            torchrun.terminate()  # and not kill: it must end its ranks
    if torchrun.returncode:
        raise RuntimeError(f"torchrun ended with {torchrun.returncode}: {log[-2000:]}")
    return log


def losses(folder: str | Path) -> list[dict]:
    """The records of `losses.jsonl`: {"step", "loss", "from"}, the last being the checkpoint of the attempt."""
    return [json.loads(line) for line in (Path(folder) / "losses.jsonl").read_text().splitlines()]


def _share(size: int) -> tuple[int, int]:
    """Where this rank's shard of a vector begins and ends; the padding at the end belongs to nobody."""
    each = -(-size // dist.get_world_size())
    return min(dist.get_rank() * each, size), min((dist.get_rank() + 1) * each, size)


def _all_of(values: torch.Tensor) -> Piece:
    return Piece(values, 0, len(values))


def main() -> None:
    """What torchrun starts on each rank: FOLDER STEPS EVERY KILL."""
    folder, steps, every, kill = sys.argv[1], *map(int, sys.argv[2:])
    dist.init_process_group("gloo")
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    train_on_rank(folder, steps, every, ("step", kill) if first else None)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
