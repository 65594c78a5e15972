"""Calls the student's functions inside the worker and hands back what they gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs; where
a number counted here decides, the check says so.
"""

import contextlib
import sys
from time import sleep  # before a student's module may replace them

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

POINT_TO_POINT = ("send", "recv_")


class Operations(TorchDispatchMode):
    """Collects the names of the communication operations that PyTorch dispatches: `allreduce_`, `send`, ..."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        space, _, name = function._schema.name.partition("::")
        if space in ("c10d", "_c10d_functional") and name != "wait_tensor":
            self.names.append(name)
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # else the first operation imports PyTorch's compiler: a second on every rank

    def take(self):
        """Return the names collected since the last call."""
        names, self.names = self.names, []
        return names


# --- sequential_print ---------------------------------------------------------------------------------------


class Signed:
    """A text stream that waits before each line and puts a mark in front of it."""

    def __init__(self, stream, mark, delay):
        self.stream, self.mark, self.delay, self.pending = stream, mark, delay, ""

    def write(self, text):
        self.pending += text
        while "\n" in self.pending:
            line, _, self.pending = self.pending.partition("\n")
            sleep(self.delay)
            self.stream.write(f"{self.mark}{line}\n")
            self.stream.flush()
        return len(text)

    def flush(self):
        self.stream.flush()


def print_in_turn(pace, rank, size, num_iter):
    """Run `run_sequential` on a rank that starts late and prints slowly, as `pace` says (seconds)."""
    from sequential_print import run_sequential

    sleep(pace["start"])
    with contextlib.redirect_stdout(Signed(sys.stdout, pace["mark"], pace["line"])):
        run_sequential(rank, size, num_iter)
    return True


# --- ring ---------------------------------------------------------------------------------------------------


def ring(tensors, rank, size):
    """Call `ring_allreduce` on each of a list of tensors in turn; return them as they are afterwards."""
    from allreduce import ring_allreduce

    for tensor in tensors:
        ring_allreduce(tensor, rank, size)
    return tensors


def ring_on_a_view(tensor, rank, size, layout):
    """Call `ring_allreduce` on a view with the values of `tensor`; also return the memory around the view."""
    from allreduce import ring_allreduce

    if layout == "transposed":
        memory = torch.zeros(tensor.shape[::-1], dtype=tensor.dtype)
        view, around = memory.t(), memory[:0]
    elif layout == "every second":
        memory = torch.zeros(2 * tensor.numel(), dtype=tensor.dtype)
        view, around = memory[::2], memory[1::2]
    else:
        memory = torch.zeros(tensor.shape[0], 3 * tensor.shape[1], dtype=tensor.dtype)
        view, around = memory[:, : tensor.shape[1]], memory[:, tensor.shape[1] :]
    view.copy_(tensor)
    ring_allreduce(view, rank, size)
    return {"view": view, "around": around}


def ring_watched(tensor, rank, size):
    """Call `ring_allreduce`; also return the collectives that were dispatched."""
    from allreduce import ring_allreduce

    with Operations() as operations:
        ring_allreduce(tensor, rank, size)
    return {
        "tensor": tensor,
        "collectives": [name for name in operations.names if name not in POINT_TO_POINT],
    }


def a_tensor(function, value):
    """Return what the student's function returned; raises TypeError, with a sentence, where it is no tensor."""
    if isinstance(value, torch.Tensor):
        return value
    found = "None" if value is None else f"a value of type {type(value).__name__}"
    raise TypeError(f"{function} returned {found}, not a tensor")


# --- syncbn -------------------------------------------------------------------------------------------------


FORWARD = "SyncBatchNorm.forward"


def batch_norm(case, rank, size, eps=1e-5, momentum=0.1):
    """Run one SyncBatchNorm forward on all `inputs`, then backward from all `cotangents` at once."""
    module = _module(case["inputs"][0], eps, momentum)
    inputs = [value.requires_grad_() for value in case["inputs"]]
    outputs = [a_tensor(FORWARD, module(value)) for value in inputs]
    # A scalar loss with the cotangents as its gradient; a plain sum would have gradient zero.
    pairs = zip(outputs, case["cotangents"], strict=True)
    sum((output * cotangent).sum() for output, cotangent in pairs).backward()
    return {
        "outputs": [output.detach() for output in outputs],
        "gradients": [value.grad for value in inputs],
        **_statistics(module),
    }


def batch_norm_one_by_one(case, rank, size):
    """Run SyncBatchNorm forward and backward on one input after the other, and again under `torch.no_grad()`."""
    module = _module(case["inputs"][0], 1e-5, 0.1)
    outputs, gradients = [], []
    for value, cotangent in zip(case["inputs"], case["cotangents"], strict=True):
        value = value.clone().requires_grad_()
        outputs.append(a_tensor(FORWARD, module(value)))
        (outputs[-1] * cotangent).sum().backward()
        gradients.append(value.grad)
    silent = _module(case["inputs"][0], 1e-5, 0.1)
    with torch.no_grad():
        without_grad = [a_tensor(FORWARD, silent(value)) for value in case["inputs"]]
    return {
        "outputs": [output.detach() for output in outputs],
        "gradients": gradients,
        "without_grad": without_grad,
        "statistics": _statistics(module),
        "statistics_without_grad": _statistics(silent),
    }


def batch_norm_in_evaluation(case, rank, size, eps=1e-5, momentum=0.1):
    """Train on `inputs`, then evaluate `probe`, with the module and with another that loads its state."""
    module = _module(case["probe"], eps, momentum)
    for value in case["inputs"]:
        module(value)
    # As training left them: a module that ignores evaluation mode would change them, and the update take the blame.
    trained = _statistics(module)
    module.eval()
    state = module.state_dict()
    other = _module(case["probe"], eps, momentum)
    other.load_state_dict(state)
    # Templates of past years kept running_std outside the state; their files are not to blame.
    if "running_std" not in state and isinstance(getattr(module, "running_std", None), torch.Tensor):
        other.running_std = module.running_std.clone()
    copy = _statistics(other)
    other.eval()
    with torch.no_grad():
        outputs, restored = module(case["probe"]), other(case["probe"])
    return {
        "outputs": outputs,
        "restored": restored,
        "copy": copy,
        "after": _statistics(module),
        **trained,
    }


def batch_norm_watched(case, rank, size, repeats):
    """Run forward and backward `repeats` times; return the operations that each of them dispatched."""
    module = _module(case["inputs"][0], 1e-5, 0.1)
    value = case["inputs"][0].requires_grad_()
    forward, backward = [], []
    with Operations() as operations:
        for _ in range(repeats):
            output = a_tensor(FORWARD, module(value))
            forward.append(operations.take())
            (output * case["cotangents"][0]).sum().backward()
            backward.append(operations.take())
    return {"forward": forward, "backward": backward}


def replay(tensor, rank, size, operations, repeats):
    """Run the named collectives on `tensor`, `repeats` times: the calibration for what a count claims."""
    whole = torch.empty(size * tensor.numel())
    pieces = list(whole.chunk(size))
    for _ in range(repeats):
        for name in operations:
            if name in ("allgather_", "_allgather_base_", "all_gather_into_tensor"):
                dist.all_gather(pieces, tensor)
            else:
                dist.all_reduce(tensor)
    return True


def _module(like, eps, momentum):
    from syncbn import SyncBatchNorm

    return SyncBatchNorm(like.shape[1], eps=eps, momentum=momentum).to(like.dtype)


def _statistics(module):
    found = {}
    for name in ("running_mean", "running_var", "running_std"):
        value = getattr(module, name, None)
        if isinstance(value, torch.Tensor):
            found[name] = value.detach().flatten().double().clone()
    return found


# --- metrics and accumulation -------------------------------------------------------------------------------


class Watched(nn.Module):
    """Passes batches on to a model and counts their rows."""

    def __init__(self, model):
        super().__init__()
        self.model, self.rows, self.largest = model, 0, 0

    def forward(self, value):
        self.rows += len(value)
        self.largest = max(self.largest, len(value))
        return self.model(value)


def accuracy(case, rank, size):
    """Call `sharded_accuracy` with a normalising linear classifier in the mode that `case` asks for."""
    from metrics import sharded_accuracy

    classes, width = case["weight"].shape
    model = Watched(nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, classes, bias=False)))
    model.model[0].running_mean.copy_(case["mean"])
    model.model[0].running_var.copy_(case["var"])
    model.model[1].weight.data.copy_(case["weight"])
    model.train(case["training"])
    value = sharded_accuracy(model, case["inputs"], case["labels"], rank, size)
    if hasattr(value, "item"):  # a tensor's or NumPy's number
        value = value.item()
    return {"accuracy": value, "rows": model.rows, "training": model.training}


class HeavyBall:
    """SGD with momentum. PyTorch's own imports its compiler at the first step: seconds on every rank."""

    def __init__(self, parameters, lr, momentum):
        self.param_groups = [{"params": list(parameters), "lr": lr, "momentum": momentum}]
        self.state = {}

    def zero_grad(self, set_to_none=True):
        for parameter in self.param_groups[0]["params"]:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        for parameter in group["params"]:
            if parameter.grad is not None:
                velocity = self.state.setdefault(parameter, torch.zeros_like(parameter))
                velocity.mul_(group["momentum"]).add_(parameter.grad)
                parameter.sub_(group["lr"] * velocity)


def optimizer_steps(case, rank, size):
    """Call `accumulated_step` once per entry of `steps`; return the parameters and the largest batch seen."""
    from accumulation import accumulated_step

    first, second = case["weights"]
    network = nn.Sequential(nn.Linear(first.shape[1], first.shape[0], bias=False), nn.Tanh())
    network.append(nn.Linear(second.shape[1], second.shape[0], bias=False))
    network[0].weight.data.copy_(first)
    network[2].weight.data.copy_(second)
    model = Watched(network)
    if case["unused"]:
        model.unused = nn.Parameter(torch.ones(3))
        model.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = HeavyBall(trained, case["lr"], case["momentum"])
    for micro_batches in case["steps"]:
        accumulated_step(model, optimizer, F.cross_entropy, micro_batches)
    return {
        "weights": [network[0].weight.detach(), network[2].weight.detach()],
        "largest": model.largest,
    }
