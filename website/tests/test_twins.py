"""The simulators of the site beside the modules of the course, on a thousand random cases each."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from week01_intro.allocator import CachingAllocator, OutOfMemory, random_trace
from week02_distributed import cluster, policies
from week03_data_parallel import schedules as allreduce
from week04_large_models import schedules as pipeline
from week07_inference_software import loads
from week07_inference_software.engine import Config, Engine, Request, Scheduler
from week07_inference_software.engine.blocks import BlockPool, OutOfBlocks
from week07_inference_software.engine.engine import StepClock

NODE = shutil.which("node")
CASES = 1000
MIB = 2**20

pytestmark = pytest.mark.skipif(
    NODE is None, reason="node, which runs the simulators of the site, is not installed"
)


def allocator_case(rng: random.Random) -> dict[str, Any]:
    """A trace on one of two streams, on a device that may be too small for it."""
    trace = random_trace(rng.randint(1, 60), rng.random())
    streams = {name: rng.randrange(2) for _, name, _ in trace}
    capacity = rng.choice([None, rng.randint(20, 120) * MIB])
    return {"capacity": capacity, "trace": [[*event, streams[event[1]]] for event in trace]}


def allreduce_case(rng: random.Random) -> dict[str, Any]:
    ranks = rng.randint(1, 24)
    return {
        "name": rng.choice([*allreduce.FLAT, "hierarchical"]),
        "ranks": ranks,
        "perHost": rng.choice([size for size in range(1, ranks + 1) if ranks % size == 0]),
        "nbytes": rng.randrange(1, 2**34),
        "alpha": 10 ** rng.uniform(-7, -3),
        "beta": 10 ** rng.uniform(-12, -8),
        "lanes": rng.choice([None, rng.randint(1, 8)]),
    }


def pipeline_case(rng: random.Random) -> dict[str, Any]:
    name, ranks = rng.choice(["gpipe", "one_f_one_b", "interleaved"]), rng.randint(1, 8)
    return {
        "name": name,
        "ranks": ranks,
        "chunks": rng.randint(1, 4),
        "microBatches": rng.randint(1, 4) * ranks if name == "interleaved" else rng.randint(1, 32),
        "forward": rng.choice([1.0, rng.uniform(0.1, 3)]),
        "backward": rng.choice([2.0, rng.uniform(0.1, 3)]),
        "transfer": rng.choice([0.0, rng.uniform(0, 2)]),
    }


def batching_case(rng: random.Random) -> dict[str, Any]:
    """Requests that may arrive together, in any order; answers of one token end in the step that reads them."""
    last = rng.choice([0.0, rng.uniform(0, 60)])
    requests = [
        {"arrival": rng.uniform(0, last), "prompt": rng.randint(1, 40), "output": rng.randint(1, 8)}
        for _ in range(rng.randint(1, 12))
    ]
    options = {
        "most": rng.randint(1, 8),
        "admit": rng.choice(["any time", "when empty"]),
        "step": rng.uniform(0.1, 2),
        "row": rng.choice([0.0, rng.uniform(0, 0.2)]),
    }
    return {"requests": requests, "options": options}


def cluster_case(rng: random.Random) -> dict[str, Any]:
    """At most 8 GPUs: beyond that the module takes a server's equal GPUs in the order of a Python set."""
    servers, per_server = rng.choice([(1, 4), (1, 8), (2, 2), (2, 4), (3, 2), (4, 2), (8, 1)])
    jobs = [
        {
            "name": name,
            "arrival": rng.choice([0.0, rng.uniform(0, 300)]),
            # Most are small: only then do several pass one that waits.
            "gpus": min(rng.randint(1, servers * per_server), rng.randint(1, servers * per_server)),
            "work": rng.uniform(5, 400),
            "cost": rng.choice([0.0, rng.uniform(0.02, 0.15)]),
            "deadline": rng.uniform(50, 800),
        }
        for name in range(rng.randint(1, 20))
    ]
    return {
        "servers": servers,
        "perServer": per_server,
        "jobs": None if servers * per_server >= 4 and rng.random() < 0.05 else jobs,
        "policy": rng.choice(["piecemeal", *policies.RIGID]),
    }


def paged_case(rng: random.Random) -> dict[str, Any]:
    """Sequences begin, write, fork, shrink and end, in a pool that may be too small for them."""
    names, trace = 0, []
    for _ in range(rng.randint(1, 80)):
        kind = rng.choice(["begin", "write", "write", "write", "fork", "shrink", "release"])
        if kind == "begin" or not names:
            trace.append(["begin", names, rng.randint(1, 60)])
            names += 1
        elif kind == "fork":
            trace.append(["fork", rng.randrange(names), names])
            names += 1
        else:
            trace.append([kind, rng.randrange(names), rng.randint(0, 40)])
    return {"blocks": rng.randint(2, 60), "size": rng.randint(1, 20), "trace": trace}


def replay(case: dict[str, Any]) -> list[Any]:
    device, live, seen = CachingAllocator(case["capacity"]), {}, []
    for kind, name, nbytes, stream in case["trace"]:
        answer: Any = None
        if kind == "malloc":
            try:
                answer = live[name] = device.malloc(nbytes, stream)
            except OutOfMemory:
                answer = "out of memory"
        elif kind == "free" and name in live:
            device.free(live.pop(name))
        elif kind == "empty_cache":
            answer = device.empty_cache()
        seen.append([answer, device.stats()])
    return seen


def reduce(case: dict[str, Any]) -> dict[str, Any]:
    if case["name"] == "hierarchical":
        schedule = allreduce.hierarchical(case["ranks"], case["perHost"])
    else:
        schedule = allreduce.FLAT[case["name"]](case["ranks"])
    lanes = case["lanes"] or float("inf")
    return {
        "chunks": schedule.chunks,
        "rounds": [[[m.source, m.target, m.start, m.stop, m.add] for m in one] for one in schedule.rounds],
        "sent": allreduce.bytes_sent(schedule, case["nbytes"]).tolist(),
        "cost": allreduce.cost(schedule, case["nbytes"], case["alpha"], case["beta"], lanes),
    }


def pipe(case: dict[str, Any]) -> dict[str, Any]:
    if case["name"] == "interleaved":
        schedule = pipeline.interleaved(case["ranks"], case["chunks"], case["microBatches"])
    else:
        schedule = getattr(pipeline, case["name"])(case["ranks"], case["microBatches"])
    timeline = pipeline.simulate(schedule, case["forward"], case["backward"], case["transfer"])
    return {
        "timeline": [
            [[a.kind, a.stage, a.micro_batch, start, end] for a, start, end in done]
            for done in timeline.ranks
        ],
        "bubble": timeline.bubble,
        "inFlight": pipeline.in_flight(schedule),
    }


class Mute:
    """A model for the engine that computes nothing: whose turn it is does not depend on what is written."""

    config, dtype = Config(vocabulary=2, width=2, layers=1, heads=1, groups=1, inner=2), torch.float32

    def forward(self, rows, cache, kernels) -> torch.Tensor:
        return torch.zeros(len(rows.tokens), 1)

    def logits(self, hidden, kernels) -> torch.Tensor:
        return torch.zeros(len(hidden), self.config.vocabulary)


def serve(case: dict[str, Any]) -> dict[str, Any]:
    options = case["options"]
    # So many rows that every prompt is read whole, and so many blocks that nobody must give way.
    scheduler = Scheduler(budget=1000, most=options["most"], admit=options["admit"])
    clock = StepClock(options["step"], options["row"])
    engine = Engine(Mute(), blocks=100, scheduler=scheduler, keep=False, clock=clock)
    report = engine.run(
        Request([1] * r["prompt"], r["output"], arrival=r["arrival"]) for r in case["requests"]
    )
    return {
        "times": [sequence.times for sequence in report.sequences],
        "steps": [[step.time, step.rows, step.sequences] for step in report.steps],
        "firstToken": report.first_token().tolist(),
        "longestGap": max((gap for gaps in report.gaps() for gap in gaps.tolist()), default=0.0),
        "tokens": report.tokens,
    }


def lend(case: dict[str, Any]) -> dict[str, Any]:
    pool = BlockPool(case["blocks"], case["size"], keep=False)
    tables: dict[int, list[int]] = {}
    stored: dict[int, int] = {}
    seen = []
    for kind, name, number in case["trace"]:
        answer: Any = None
        try:
            if kind == "begin":
                tables[name], stored[name] = [], 0
                pool.grow(tables[name], number)
                stored[name] = number
            elif kind == "write":
                if pool.shared(tables[name], stored[name]):
                    answer = list(pool.own(tables[name], stored[name]))
                pool.grow(tables[name], stored[name] + 1)
                stored[name] += 1
            elif kind == "fork":
                tables[number], stored[number] = pool.fork(tables[name]), stored[name]
            elif kind == "shrink":
                stored[name] = min(number, stored[name])
                pool.shrink(tables[name], stored[name])
            else:
                pool.release(tables[name])
                stored[name] = 0
        except OutOfBlocks:
            answer = "out of blocks"
        holders = [list(pair) for pair in sorted(pool.holders.items())]
        seen.append([answer, [list(table) for table in tables.values()], list(pool.free), holders])
    held = [tokens for tokens in stored.values() if tokens]
    # The module's report counts a sequence's last token, whose keys are not stored yet.
    report: Any = SimpleNamespace(sequences=[SimpleNamespace(tokens=[0] * (n + 1)) for n in held])
    return {"seen": seen, "waste": loads.waste(report, max(held), case["size"]) if held else None}


def share(case: dict[str, Any]) -> dict[str, Any] | str:
    jobs = cluster.SIX_JOBS if case["jobs"] is None else [cluster.Job(**job) for job in case["jobs"]]
    policy, options = policies.RIGID.get(case["policy"], (policies.piecemeal, {}))
    try:
        result = cluster.simulate(
            jobs, cluster.Cluster(case["servers"], case["perServer"]), policy, **options
        )
    except cluster.Deadlock:
        return "deadlock"
    return {
        "intervals": [[p.job, list(p.gpus), p.start, p.end, p.speed] for p in result.intervals],
        "ends": [list(pair) for pair in result.ends.items()],
        "completion": result.completion.tolist(),
        "makespan": result.makespan,
        "missed": result.missed,
        "busy": result.utilisation(),
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[list, list]]:
    """For each simulator: the cases, and what its JavaScript says to them, from one process of node."""
    rng = random.Random(17)
    make = {
        "allocator": allocator_case,
        "allreduce": allreduce_case,
        "pipeline": pipeline_case,
        "batching": batching_case,
        "cluster": cluster_case,
        "paged": paged_case,
    }
    cases = {name: [one(rng) for _ in range(CASES)] for name, one in make.items()}
    file = tmp_path_factory.mktemp("twins") / "cases.json"
    file.write_text(json.dumps(cases), encoding="utf-8")
    program = Path(__file__).with_name("twins.js")
    ran = subprocess.run([NODE, str(program), str(file)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    return {name: (cases[name], found[name]) for name in cases}


def test_the_allocator_of_the_site_gives_every_address_and_counter_of_the_module(answers):
    cases, found = answers["allocator"]
    wrong = [case for case, answer in zip(cases, found, strict=True) if replay(case) != answer]
    assert wrong == []
    said = [answer for one in found for answer, _ in one]
    assert said.count("out of memory") > 100  # the cases reach what is rare


def test_the_all_reduce_of_the_site_sends_every_message_of_the_module(answers):
    # NumPy adds many numbers pairwise, JavaScript one by one: times may differ in the last digits.
    for case, answer in zip(*answers["allreduce"], strict=True):
        ours = reduce(case)
        assert (answer["chunks"], answer["rounds"]) == (ours["chunks"], ours["rounds"]), case
        assert answer["sent"] == pytest.approx(ours["sent"], rel=1e-12), case
        assert answer["cost"] == pytest.approx(ours["cost"], rel=1e-12), case


def test_the_pipeline_of_the_site_starts_and_ends_every_pass_when_the_module_does(answers):
    for case, answer in zip(*answers["pipeline"], strict=True):
        ours = pipe(case)
        assert (answer["timeline"], answer["inFlight"]) == (ours["timeline"], ours["inFlight"]), case
        assert answer["bubble"] == pytest.approx(ours["bubble"], abs=1e-12), case


def test_the_batching_of_the_site_writes_every_token_when_the_engine_does(answers):
    cases, found = answers["batching"]
    wrong = [case for case, answer in zip(cases, found, strict=True) if serve(case) != answer]
    assert wrong == []


def test_the_paged_cache_of_the_site_gives_every_block_of_the_module(answers):
    cases, found = answers["paged"]
    for case, answer in zip(cases, found, strict=True):
        ours = lend(case)
        assert answer["seen"] == ours["seen"], case
        assert answer["waste"] == pytest.approx(ours["waste"], abs=1e-12), case
    said = [answer for one in found for answer, *_ in one["seen"]]
    assert said.count("out of blocks") > 100
    assert sum(isinstance(answer, list) for answer in said) > 100  # copies before a write


def test_the_cluster_of_the_site_gives_every_gpu_when_the_module_does(answers):
    cases, found = answers["cluster"]
    for case, answer in zip(cases, found, strict=True):
        ours = share(case)
        if isinstance(ours, str) or isinstance(answer, str):
            assert answer == ours, case
            continue
        assert (answer["intervals"], answer["ends"]) == (ours["intervals"], ours["ends"]), case
        for name in ("completion", "makespan", "missed", "busy"):
            assert answer[name] == pytest.approx(ours[name], rel=1e-12, abs=1e-12), case
    assert found.count("deadlock") > 10
