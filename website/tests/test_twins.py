"""The simulators of the site beside the modules of the course, on a thousand random cases each."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from week01_intro.allocator import CachingAllocator, OutOfMemory, random_trace
from week03_data_parallel import schedules as allreduce
from week04_large_models import schedules as pipeline

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


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[list, list]]:
    """For each simulator: the cases, and what its JavaScript says to them, from one process of node."""
    rng = random.Random(17)
    make = {"allocator": allocator_case, "allreduce": allreduce_case, "pipeline": pipeline_case}
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
