"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs; where
a number counted here decides, the check says so.
"""

import tempfile
import threading
import time

import torch
import torch.distributed as dist
from torch import nn

# --- inefficiencies -----------------------------------------------------------------------------------------


class Samples:
    """Sequences of token ids, each with a label, kept in memory."""

    def __init__(self, tokens, lengths, labels):
        self.tokens, self.lengths, self.labels = tokens, lengths, labels
        self.ends = lengths.cumsum(0)

    def __len__(self):
        return len(self.lengths)

    def read(self, first, last):
        """Return tokens, lengths and labels of the sequences first .. last-1, tokens one behind the other."""
        lengths = self.lengths[first:last]
        begin = int(self.ends[first] - self.lengths[first]) if first < last else 0
        return self.tokens[begin : begin + int(lengths.sum())], lengths, self.labels[first:last]


class RemoteSamples:
    """The same methods; the samples come from rank 1, and the grader counts the bytes between the ranks."""

    busy = threading.Lock()  # one question after the other, whichever thread asks

    def __init__(self, which, count):
        self.which, self.count = which, count

    def __len__(self):
        return self.count

    def read(self, first, last):
        """Return tokens, lengths and labels of the sequences first .. last-1, tokens one behind the other."""
        sizes = torch.empty(2, dtype=torch.int64)
        with self.busy:
            dist.send(torch.tensor([self.which, first, last]), 1)
            dist.recv(sizes, 1)
            answer = torch.empty(int(sizes[0] + 2 * sizes[1]), dtype=torch.int64)
            if len(answer):
                dist.recv(answer, 1)
        return answer.split([int(sizes[0]), int(sizes[1]), int(sizes[1])])


def serve(stores):
    """Answer the questions of rank 0 until it sends a store that is not there."""
    question = torch.empty(3, dtype=torch.int64)
    while True:
        dist.recv(question, 0)
        which, first, last = question.tolist()
        if which < 0:
            return
        answer = stores[which].read(first, last)
        dist.send(torch.tensor([len(answer[0]), len(answer[1])]), 0)
        if sum(map(len, answer)):
            dist.send(torch.cat(answer), 0)


def weights_of(case):
    """Return the weights of a case. The embedding is a table [K, D], again and again, up to so many words."""
    embedding = case["table"].repeat(-(-case["words"] // len(case["table"])), 1)[: case["words"]]
    return {**case["weights"], "embedding": embedding}


def shown(result, case):
    """Return what `train` returned, of the embedding only the rows that the case asks for."""
    weights = {name: value.detach() for name, value in result["weights"].items()}
    weights["embedding"] = weights["embedding"][case["shown"]]
    return {"losses": result["losses"], "validation": result["validation"], "weights": weights}


def train(case):
    """Call `train` with samples in memory."""
    import fast_training

    stores = [Samples(*case[name]) for name in ("train", "validation")]
    return shown(fast_training.train(*stores, weights_of(case), case["settings"]), case)


def train_in_turn(one, two):
    """Call `train` with two cases in turn, then with the first again; also return the weights that were given."""
    import fast_training

    given, results = weights_of(one), []
    for case, weights in ((one, given), (two, weights_of(two)), (one, given)):
        stores = [Samples(*case[name]) for name in ("train", "validation")]
        results.append(shown(fast_training.train(*stores, weights, case["settings"]), case))
    return {"results": results, "given": given}


def train_from_afar(case, rank, size):
    """Call `train` on rank 0 with samples that rank 1 holds."""
    import fast_training

    if rank == 1:
        return serve([Samples(*case[name]) for name in ("train", "validation")])
    stores = [RemoteSamples(which, case[name]) for which, name in enumerate(("train", "validation"))]
    result = fast_training.train(*stores, weights_of(case), case["settings"])
    dist.send(torch.tensor([-1, 0, 0]), 1)
    return shown(result, case)


# --- profile ------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands still until somebody works; it counts how often it is read."""

    def __init__(self, now):
        self.now, self.reads = now, 0

    def __call__(self):
        self.reads += 1
        return self.now


class Spend(torch.autograd.Function):
    """Multiplies by a weight [D] and moves the clock on, in forward and in backward."""

    @staticmethod
    def forward(ctx, value, weight, clock, forth, back):
        clock.now += forth
        ctx.save_for_backward(value, weight)
        ctx.clock, ctx.back = clock, back
        return value * weight

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += ctx.back
        value, weight = ctx.saved_tensors
        of_weight = (gradient * value).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return gradient * weight, of_weight, None, None, None


class Block(nn.Module):
    """A module as a recipe says. Its own work, if any, comes after that of the modules within."""

    def __init__(self, recipe, clock):
        super().__init__()
        self.recipe, self.clock = recipe, clock
        for name, inner in recipe.get("parts", {}).items():
            self.add_module(name, Block(inner, clock))
        if recipe["kind"] == "inplace":
            self.act = nn.ReLU(inplace=True)
        if "weight" in recipe:
            self.weight = nn.Parameter(recipe["weight"].clone(), requires_grad=recipe["kind"] != "frozen")
        if recipe["kind"] == "unused":
            self.spare = nn.Parameter(torch.ones(3, dtype=self.weight.dtype))

    def parts(self):
        return [getattr(self, name) for name in self.recipe.get("parts", {})]

    def forward(self, value=None, *, first=None, second=None):
        kind, inner = self.recipe["kind"], self.parts()
        if kind == "join":
            value = first + second["value"]
        elif kind == "pair":
            one, two = inner[0](value)
            value = inner[1](first=one, second={"value": two})
        elif kind == "branches":
            value = sum(one(value) for one in inner)
        elif kind == "twice":
            value = inner[0](inner[0](value))
        elif kind == "residual":
            value = value + inner[0](value)
        elif kind == "inplace":
            value = self.act(inner[0](value)) + 0.1
        else:
            for one in inner:
                value = one(value)
        if kind == "sleep":
            value = Sleep.apply(value, self.weight, self.recipe["seconds"])
        elif "weight" in self.recipe:
            value = Spend.apply(value, self.weight, self.clock, self.recipe["forth"], self.recipe["back"])
        if kind == "raises" and bool((value.abs() > 1e6).any()):
            raise ValueError(self.recipe["message"])
        return (value, value * 2) if kind == "split" else value


class Sleep(torch.autograd.Function):
    """Multiplies by a weight [D] and sleeps, in forward and in backward."""

    @staticmethod
    def forward(ctx, value, weight, seconds):
        time.sleep(seconds)
        ctx.save_for_backward(weight)
        ctx.seconds = seconds
        return value * weight

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.seconds)
        (weight,) = ctx.saved_tensors
        return gradient * weight, gradient.flatten(0, -2).sum(0), None


def one_step(model, value, cotangent, clock, pauses):
    """Run a step with some work between its parts; return output and gradients of the parameters."""
    model.zero_grad()
    clock.now += pauses[0]
    if cotangent is None:
        with torch.no_grad():
            output = model(value)
    else:
        output = model(value)
        clock.now += pauses[1]
        (output * cotangent).sum().backward()
    clock.now += pauses[2]
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {"output": output.detach().clone(), "gradients": gradients}


def hooks_of(model):
    """Return how many hooks the modules and parameters of a model have, and its methods that were replaced."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    on_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    kinds = ("_backward_hooks", "_post_accumulate_grad_hooks")
    on_parameters = sum(len(getattr(one, kind) or ()) for one in model.parameters() for kind in kinds)
    replaced = [
        name for module in model.modules() for name in ("forward", "__call__") if name in vars(module)
    ]
    return {"modules": on_modules, "parameters": on_parameters, "replaced": replaced}


def written(profile):
    """Return the text of the trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/trace.json"
        profile.to_perfetto(path)
        with open(path, encoding="utf-8") as file:
            return file.read()


def profiled(case):
    """Run steps of a model within `Profile`, one more after it; return what came of each, trace and summary."""
    from profiler import Profile

    clock = Clock(case["now"])
    model, calls = Block(case["recipe"], clock), []
    model.register_forward_hook(lambda module, args, output: calls.append(1))  # somebody else's
    before, steps = hooks_of(model), []
    options = {"schedule": case["schedule"]} if case["schedule"] else {}
    with Profile(model, name=case["name"], clock=clock, **options) as profile:
        for value, cotangent in zip(case["values"], case["cotangents"], strict=True):
            steps.append(one_step(model, value, cotangent, clock, case["pauses"]))
            profile.step()
    after, reads, trace = hooks_of(model), clock.reads, written(profile)
    steps.append(one_step(model, case["values"][0], case["cotangents"][0], clock, case["pauses"]))
    return {
        **{"steps": steps, "trace": trace, "hooks": [before, after]},
        "summary": profile.summary() if case["summary"] else {},
        **{"reads": clock.reads - reads, "grown": written(profile) != trace, "calls": len(calls)},
    }


def profiled_and_broken(case):
    """Run steps of a model of which some raise. Where `case` says so, the block is left by the first exception."""
    from profiler import Profile

    clock = Clock(case["now"])
    model = Block(case["recipe"], clock)
    before, raised, broken = hooks_of(model), "", 0
    try:
        with Profile(model, name=case["name"], clock=clock, schedule=case["schedule"]) as profile:
            for value, cotangent in zip(case["values"], case["cotangents"], strict=True):
                try:
                    one_step(model, value, cotangent, clock, case["pauses"])
                except ValueError:
                    if case["leaves"]:
                        raise
                    broken += 1
                    clock.now += case["lost"]
                profile.step()
    except ValueError as error:
        raised = str(error)
    after, reads = hooks_of(model), clock.reads
    one_step(model, case["values"][0], case["cotangents"][0], clock, case["pauses"])
    return {
        **{"raised": raised, "broken": broken, "hooks": [before, after], "reads": clock.reads - reads},
        "trace": written(profile),
    }


def profiled_asleep(case):
    """Run steps of a model that sleeps, by the profiler's own clock."""
    from profiler import Profile

    model = Block(case["recipe"], None)
    with Profile(model) as profile:
        for _ in range(case["steps"]):
            (model(case["value"]) * case["cotangent"]).sum().backward()
            profile.step()
    return {"trace": written(profile)}
