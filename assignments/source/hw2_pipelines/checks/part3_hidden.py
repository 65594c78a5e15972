"""Hidden checks of part 3: the procedures of the public ones with other inputs."""

import math
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import Failed, check, expect, expect_at_least, expect_at_most, expect_equal, gather


def _load_public():
    """Return the names of the public file."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part3_public.py"))))


# Called when a check runs: at import, the public checks would be declared a second time, as hidden ones.
public = cache(_load_public)


def run_profiled(sub, case):
    """Return the driver's answer and the events of the trace."""
    run = sub.call("driver:profiled", case, wall=public().WALL)
    answer = public().reply(run, "steps", "trace", "hooks", "reads", "grown", "calls")
    return answer, public().events_of(answer["trace"])


def expect_recipe(sub, recipe, backward, **options):
    """Compare the events of a model; those of backward only where `backward` says that a plain chain has them."""
    case = public().profile_case(sub, recipe, **options)
    answer, events = run_profiled(sub, case)
    unit = public().unit_of(events, case)
    for kind in ("forward", "backward") if backward else ("forward",):
        right = [one for step in public().expected_steps(case) for one in step[kind]]
        public().expect_events(public().chosen(events, kind), right, of=kind, unit=unit)
    return answer, case


def knows_backward(sub):
    """Return whether the backward events of a plain chain are right. Where not, the public check has charged it."""
    case = public().profile_case(sub, public().work(sub, "chain", a=public().work(sub), b=public().work(sub)))
    _, events = run_profiled(sub, case)
    unit = public().unit_of(events, case)
    right = public().expected_steps(case)[0]["backward"]
    with gather() as evidence:
        try:
            public().expect_events(public().chosen(events, "backward"), right, of="backward", unit=unit)
        except Failed:
            return False
        finally:
            evidence.measured.clear()
    return True


@check(
    item="profile",
    points=0.15,
    hint="A tensor that two modules use has one gradient, the sum. Give each call a view of its own, "
    "x.view_as(x), and watch that one's.",
)
def shared_inputs_and_shared_modules(sub):
    """A module called twice in a pass, a residual connection, and branches that read one tensor: exact events."""
    work, bare = public().work, public().bare
    backward = knows_backward(sub)
    recipes = [
        bare("chain", stem=work(sub), again=work(sub, "twice", layer=work(sub)), head=work(sub)),
        bare(
            "chain",
            stem=work(sub),
            block=bare("residual", within=work(sub, "chain", a=work(sub), b=work(sub))),
        ),
        bare("chain", stem=work(sub), fork=bare("branches", left=work(sub), right=work(sub), last=work(sub))),
    ]
    for recipe in recipes:
        expect_recipe(sub, recipe, backward, steps=2)


@check(
    item="profile",
    points=0.15,
    hint="Outputs may be changed in place, which those of register_full_backward_hook may not. Tensors stand in "
    "tuples, dictionaries and keyword arguments too. Not every parameter gets a gradient.",
)
def awkward_modules(sub):
    """ReLU in place, tuples, keywords, dictionaries, frozen and unused parameters, a step under no_grad."""
    work, bare = public().work, public().bare
    backward = knows_backward(sub)
    pair = bare("pair", split=work(sub, "split"), join=work(sub, "join"))
    for number, recipe in enumerate(
        (
            bare("chain", stem=work(sub), act=bare("inplace", layer=work(sub)), head=work(sub)),
            bare("chain", stem=work(sub, "unused"), pair=pair, head=work(sub)),
            bare("chain", stem=work(sub, "frozen"), head=work(sub, "unused"), tail=work(sub)),
        )
    ):
        answer, case = expect_recipe(sub, recipe, backward, steps=3, silent=(1,) if number else ())
        public().expect_same_steps(answer, case)


@check(
    item="profile",
    points=0.1,
    hint="__exit__ runs after an exception too; what was begun and never ended must not stay open.",
    forgeable="how many hooks a module has, only the process can tell",
)
def exceptions_leave_nothing_behind(sub):
    """An exception ends the block: it comes out, no hook is left. One caught within: later steps are exact."""
    work = public().work
    message = f"broken {sub.rng.integers(0, 10**6)}"
    bad = {**work(sub, "raises"), "message": message}
    body = work(sub, "chain", one=work(sub), bad=bad)
    usual = None
    for leaves in (False, True):
        case = public().profile_case(sub, work(sub, "chain", stem=work(sub), body=body), steps=4)
        broken = sub.rng.integers(1, 3)
        case |= {"leaves": leaves, "lost": 10**6}
        case["values"][broken] = case["values"][broken] * 0 + 1e9
        answer = public().reply(
            sub.call("driver:profiled_and_broken", case, wall=public().WALL),
            "raised",
            "broken",
            "hooks",
            "reads",
            "trace",
        )
        expect_equal(answer["raised"], message if leaves else "", of="exception that came out of the block")
        # What is left after any block is charged by a public check.
        good = type(answer["hooks"]) is list and len(answer["hooks"]) == 2
        expect(good, "the driver's reply is damaged")
        left = {"hooks": answer["hooks"][1], "reads": answer["reads"]}
        usual = left if usual is None else usual
        expect_equal(
            left, usual, of="hooks left, and reads of the clock later, as after a block without exception"
        )
        if leaves:
            continue
        expect_equal(answer["broken"], 1, of="steps that raised")
        events = public().events_of(answer["trace"])
        unit = public().unit_of(events, case)
        # The last step, which has nothing to do with the broken one: no call of the model begins later.
        forward = public().chosen(events, "forward")
        begin = max((one["ts"] for one in forward if one["name"] == case["name"]), default=math.inf)
        last = [one for one in forward if one["ts"] >= begin]
        right = public().expected_calls(case["recipe"], case["name"], 0)[0]
        public().expect_events(last, right, of="forward", unit=unit)
        public().expect_nested(forward)


@check(item="profile", points=0.15, hint="time.perf_counter_ns counts nanoseconds, the trace microseconds.")
def real_time_is_told(sub):
    """With the profiler's own clock: modules that sleep 20 ms have events as long, which nest."""
    seconds, steps = 0.02, 2
    sleepy = lambda: {**public().work(sub, "sleep"), "seconds": seconds}  # noqa: E731
    case = {
        "recipe": public().bare("chain", a=sleepy(), b=public().bare("chain", c=sleepy(), d=sleepy())),
        "value": sub.rng.normal((3, 6), dtype=torch.float64),
        "cotangent": sub.rng.normal((3, 6), dtype=torch.float64),
        "steps": steps,
    }
    run = sub.call("driver:profiled_asleep", case, wall=public().WALL)
    events = public().events_of(public().reply(run, "trace")["trace"])
    public().expect_nested(events)
    forward = {}
    for one in public().chosen(events, "forward"):
        forward[one["name"]] = forward.get(one["name"], 0.0) + one["dur"]
    expect_equal(
        sorted(forward), ["model", "model.a", "model.b", "model.b.c", "model.b.d"], of="names of forward"
    )
    told = forward["model"] / 1e6
    # The same in another unit is charged by an exact check.
    factor = min(
        (1e-3, 1.0, 1e3), key=lambda factor: abs(math.log(max(told / factor, 1e-12) / (3 * steps * seconds)))
    )
    for name, sleeps in (("model", 3), ("model.a", 1), ("model.b", 2), ("model.b.c", 1)):
        of = f"seconds that {name} took, forward"
        expect_at_least(forward[name] / factor / 1e6, sleeps * steps * seconds * 0.99, of=of)
        expect_at_most(forward[name] / factor / 1e6, run.wall, of=of)


@check(
    item="inefficiencies",
    points=0.1,
    wall=120,
    hint="Who began a thread or a process for an epoch must end it.",
)
def epochs_leave_no_threads(sub):
    """1, 4 and 8 epochs: the most processes and threads at one time do not grow, at most by 0.5 per epoch."""
    public().expect_few_threads(sub, (1, 4, 8), 8)


@check(item="inefficiencies", points=0.15, wall=120, hint="Pad to the longest sequence of the batch.")
def one_long_sequence_costs_one_batch(sub):
    """191 sequences of 4 to 7 tokens and one of 250, 16 in a batch: at least 3 times as fast as the slow file."""
    # An honest one reaches 11, with all other faults left in 5; padded to the longest of all, 1.9.
    public().expect_faster(sub, 3, lambda: public().one_long_sequence(sub))


@check(
    item="inefficiencies",
    points=0.15,
    wall=120,
    hint="A step changes few rows of the embedding: touch no others.",
)
def many_words_are_fast(sub):
    """A vocabulary of 500,000 words, 2 short sequences in a batch: at least 2.5 times as fast as the slow file."""
    # An honest one reaches 4.5 to 6; a gradient of the whole table, 1.6.
    public().expect_faster(sub, 2.5, lambda: public().many_words(sub))


@check(item="inefficiencies", points=0.25, wall=120, hint="All seven together.")
def whole_training_is_fast(sub):
    """48 sequences of 8 to 130 tokens, 4 heads, 50,000 words, 2 epochs: at least 4 times as fast as the slow file."""
    # An honest one reaches 6.4 to 7.5; with two faults left in, 1.4.
    public().expect_faster(sub, 4, lambda: public().a_bit_of_everything(sub))


@check(
    item="inefficiencies", points=0.1, hint="What is kept between steps or calls must fit the next one too."
)
def awkward_data_trains_alike(sub):
    """Sequences of one token, longer ones in validation than in training, other sizes and dtypes in turn."""
    one = public().random_case(
        sub, lengths=[1, 1], validation=[1, 6, 1], epochs=2, batch=1, dtype=torch.float64
    )
    lengths, judged = public().some_lengths(sub, 7, 1, 9), public().some_lengths(sub, 5, 9, 14)
    # So many words that few occur twice in a batch: what then becomes of their gradients, a public check charges.
    two = public().random_case(sub, lengths=lengths, validation=judged, width=12, heads=3, batch=7, words=200)
    answer = public().reply(
        sub.call("driver:train_in_turn", one, two, wall=public().WALL), "results", "given"
    )
    expect(type(answer["results"]) is list and len(answer["results"]) == 3, "the driver's reply is damaged")
    # Held against the student's own, of fresh processes: what is wrong there too, a public check has charged.
    alone = [sub.call("driver:train", case, wall=public().WALL).result for case in (one, two)]
    for case, found in zip((one, two), alone, strict=True):
        public().expect_trained(found, case)
    for number, (result, own) in enumerate(zip(answer["results"], (*alone, alone[0]), strict=True), 1):
        public().expect_own(result, own, f", call {number} of three")
    expect(type(answer["given"]) is dict, "the driver's reply is damaged")
    for name in ("inwards", "outwards", "head"):
        expect_equal(
            answer["given"].get(name), one["weights"][name], of=f"{name} that was given, after the call"
        )
