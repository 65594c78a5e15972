"""Calls the student's functions inside the worker and hands back what they gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs; where
a number counted here decides, the check says so. Weights that would be many are drawn here from a seed, and
the examiner draws them again.
"""

import contextlib
import functools
import math
import zlib
from time import perf_counter, sleep  # before a student's module may replace them

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

CALLS = {
    "_allgather_base_": "all_gather_into_tensor",
    "allgather_": "all_gather",
    "alltoall_base_": "all_to_all_single",
    "alltoall_": "all_to_all",
    "_reduce_scatter_base_": "reduce_scatter_tensor",
    "reduce_scatter_": "reduce_scatter",
    "allreduce_": "all_reduce",
    "recv_any_source_": "recv",
}


class Phases(TorchDispatchMode):
    """Tells in which phase of its work this process held the most memory, as the kernel keeps its high-water mark.

    That is for the student to read, and decides nothing. Within a `with` block, each call of `torch.distributed`
    opens a phase too.
    """

    def __init__(self):
        super().__init__()
        self.phase, self.now, self.seen = "the start", "the start", []

    def begin(self, phase):
        """End the phase so far, and begin another one."""
        self._note(phase)
        self.phase = phase

    def peak(self):
        """Return the phase in which the mark rose to its height, empty where the system does not tell."""
        self._note("the end")
        top = self.seen[-1][1]
        return next((phase for phase, mark in self.seen if mark >= top - (1 << 19)), "") if top else ""

    def _note(self, now):
        mark = 0
        with contextlib.suppress(OSError), open("/proc/self/status") as status:
            mark = next((int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:")), 0)
        self.seen.append((self.now, mark))
        self.now = now

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        space, _, name = function._schema.name.partition("::")
        if space == "c10d":
            self._note(f"{self.phase}, from dist.{CALLS.get(name, name.rstrip('_'))} on")
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # else the first operation imports PyTorch's compiler: a second on every rank


def drawn(seed, *shape, scale=1.0):
    """Return Gaussian float32 numbers that follow from the seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(scale)


def a_tensor(function, value):
    """Return what the student's function returned; raises TypeError, with a sentence, where it is no tensor."""
    if isinstance(value, torch.Tensor):
        return value
    found = "None" if value is None else f"a value of type {type(value).__name__}"
    raise TypeError(f"{function} returned {found}, not a tensor")


def number(value):
    """Return a number of the student's, be it a tensor's or NumPy's, as Python's own; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return value.item() if hasattr(value, "item") and not isinstance(value, torch.Tensor) else value


# --- checkpoint ---------------------------------------------------------------------------------------------


def noisy_chain(case):
    """Send two tensors through checkpointed steps that draw random masks, and back; return all that is seen."""
    from recompute import checkpoint

    weights = [weight.requires_grad_() for weight in case["weights"]]
    start = [value.requires_grad_(case["differentiable"]) for value in (case["value"], case["other"])]
    torch.manual_seed(case["seed"])
    calls = 0

    def step(weight, value, other, gain):
        nonlocal calls
        calls += 1
        mask = torch.rand(value.shape, dtype=value.dtype) < case["share"]
        return other + gain * torch.tanh(value @ weight) * mask, value - 0.5 * other

    pair = start
    with torch.set_grad_enabled(not case["without_grad"]):
        for weight in weights:
            pair = checkpoint(functools.partial(step, weight), *pair, case["gain"])
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
                raise TypeError(
                    f"checkpoint returned {type(pair).__name__}, not the pair that the function returns"
                )
    found = {"between": torch.rand(3), "outputs": [value.detach() for value in pair]}
    found["node"] = type(pair[0].grad_fn).__name__
    passes = 0 if case["without_grad"] else case["passes"]
    for number in range(passes):
        loss = sum(
            (value * cotangent).sum() for value, cotangent in zip(pair, case["cotangents"], strict=True)
        )
        loss.backward(retain_graph=number < passes - 1)
    found["after"] = torch.rand(3)
    found["gradients"] = [value.grad for value in start if value.grad is not None]
    found["weights"] = [weight.grad for weight in weights if weight.grad is not None]
    found["calls"] = calls
    return found


def block(weight, calls, number, value):
    """One residual block that keeps four tensors of the size of `value` for its backward pass."""
    calls[number] += 1
    hidden = value @ weight
    gate = torch.sigmoid(hidden)
    return value + torch.relu(gate * hidden)


def deep_network(value, weights, segments):
    """Train `block`s one step, checkpointed one by one, or in segments where their number is not None."""
    from recompute import checkpoint, run_in_segments

    phases = Phases()
    phases.begin("forward")
    # A network whose first block gets an input without gradient is the matter of `noisy_chain`.
    value = value.requires_grad_()
    weights = [weight.clone().requires_grad_() for weight in weights]
    calls = [0] * len(weights)
    blocks = [functools.partial(block, weight, calls, number) for number, weight in enumerate(weights)]
    if segments is None:
        for one in blocks:
            value = a_tensor("checkpoint", checkpoint(one, value))
    else:
        value = a_tensor("run_in_segments", run_in_segments(blocks, value, segments))
    phases.begin("backward")
    value.mean().backward()
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    return {"weights": torch.stack(gradients), "calls": calls, "peak": phases.peak()}


# --- sharded_optimizer and sharded_gradients ----------------------------------------------------------------


def adam_steps(case, rank, size, kind):
    """Train a small network with the optimizer class `kind`; return its parameters and the norms of the steps."""
    import sharded_adam

    parameters = [nn.Parameter(value) for value in case["parameters"]]
    unused, frozen = nn.Parameter(torch.ones(3).double()), nn.Parameter(torch.ones(2).double(), False)
    optimizer = getattr(sharded_adam, kind)([unused, *parameters, frozen], rank, size, **case["rule"])
    norms = []
    for batches in case["steps"]:
        optimizer.zero_grad()
        for inputs, targets in batches:
            network(parameters, inputs, targets).backward()
        norms.append(number(optimizer.step(case["max_norm"])))
    everything = [*parameters, unused, frozen]
    return {"parameters": [parameter.detach() for parameter in everything], "norms": norms}


def network(parameters, inputs, targets):
    """Return the mean loss of a network of two layers and a factor, which is a tensor without dimensions."""
    first, bias, second, factor = parameters
    outputs = torch.tanh(inputs @ first + bias) @ second * factor
    return (outputs - targets).square().mean()


def adam_memory(samples, rank, size, kind, seed, layers, width, steps, rule, watch=False):
    """Train `layers` square weights for some steps; return the elements `samples` of each.

    `watch` tells the messages apart in what is said of memory.
    """
    import sharded_adam

    phases = Phases()
    phases.begin("the optimizer's constructor")
    weights = [nn.Parameter(drawn(seed + layer, width, width, scale=width**-0.5)) for layer in range(layers)]
    optimizer = getattr(sharded_adam, kind)(weights, rank, size, **rule)
    for step in range(steps):
        value = drawn(seed - 1 - step * size - rank, 4, width)
        with phases if watch else contextlib.nullcontext():
            phases.begin("forward and backward")
            for weight in weights:
                value = torch.tanh(value @ weight)
            value.sum(1).mean().backward()
            del value
            phases.begin("step()")
            optimizer.step()
        phases.begin("zero_grad()")
        optimizer.zero_grad()
    return {
        "samples": torch.stack([weight.detach().flatten()[samples] for weight in weights]),
        "peak": phases.peak(),
    }


# --- tensor_parallel ----------------------------------------------------------------------------------------


def layer_of(kind, weights, heads, rank, size):
    """Return the student's layer, made of the whole weights."""
    import tensor_parallel

    if kind == "attention":
        return tensor_parallel.ParallelAttention(*weights, heads, rank, size)
    return tensor_parallel.ParallelMLP(*weights, rank, size)


def parallel_layer(case, rank, size):
    """Run one layer forward on all `inputs`, backward from all `cotangents`, make an SGD step, and run it again."""
    layer = layer_of(case["kind"], case["weights"], case["heads"], rank, size)
    inputs = [value.requires_grad_(case["differentiable"]) for value in case["inputs"]]
    named = f"{type(layer).__name__}.forward"
    outputs = [a_tensor(named, layer(value)) for value in inputs]
    for output, cotangent in zip(outputs, case["cotangents"], strict=True):
        (output * cotangent).sum().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.grad is not None:
                parameter -= case["lr"] * parameter.grad
        probe = layer(case["probe"])
    return {
        "outputs": [output.detach() for output in outputs],
        "gradients": [value.grad for value in inputs if value.grad is not None],
        "probe": probe,
    }


def parallel_block(case, rank, size):
    """Run a transformer block, attention and MLP on a residual stream, forward and backward."""
    attention = layer_of("attention", case["attention"], case["heads"], rank, size)
    mlp = layer_of("mlp", case["mlp"], case["heads"], rank, size)
    start = case["input"].requires_grad_()
    value = start + attention(start)
    value = value + mlp(value)
    (value * case["cotangent"]).sum().backward()
    return {"output": value.detach(), "gradient": start.grad}


def whole_weights(seed, width, hidden):
    """Return the whole weights of an attention and of an MLP, drawn from the seed."""
    shapes = [(3 * width, width), (3 * width,), (width, width), (width,)]
    shapes += [(hidden, width), (hidden,), (width, hidden), (width,)]
    weights = [
        drawn(seed + number, *shape, scale=0.5 * shape[-1] ** -0.5) for number, shape in enumerate(shapes)
    ]
    return weights[:4], weights[4:]


def parallel_stack(value, rank, size, seed, layers, width, hidden, heads):
    """Build `layers` blocks, the whole weights of one at a time; run them forward and backward."""
    phases = Phases()
    phases.begin("the constructors")
    stack = []
    for layer in range(layers):
        attention, mlp = whole_weights(seed + 8 * layer, width, hidden)
        stack.append(layer_of("attention", attention, heads, rank, size))
        stack.append(layer_of("mlp", mlp, heads, rank, size))
        del attention, mlp
    phases.begin("forward")
    value = start = value.requires_grad_()
    for one in stack:
        value = value + one(value)
    phases.begin("backward")
    value.sum().backward()
    return {"output": value.detach(), "gradient": start.grad, "peak": phases.peak()}


# --- schedule and pipeline ----------------------------------------------------------------------------------


def schedules(stages, micro_batches):
    """Return the student's list of actions for every stage."""
    from pipeline import one_forward_one_backward

    return [
        [_action(one) for one in _actions(one_forward_one_backward(stage, stages, micro_batches))]
        for stage in range(stages)
    ]


def _actions(found):
    if found is None:
        raise TypeError("one_forward_one_backward returned None, not a list of actions")
    return found


def _action(one):
    """Return an action whose number may be NumPy's or a tensor's; anything else as it is."""
    return (one[0], number(one[1])) if isinstance(one, (tuple, list)) and len(one) == 2 else one


class Stage(nn.Module):
    """Pairs of matrices [d, h], [h, e] with a tanh between them; its output may be a view with strides."""

    def __init__(self, weights, strided):
        super().__init__()
        self.weights = nn.ParameterList(weights)
        self.strided = strided

    def forward(self, value):
        for first, second in zip(self.weights[::2], self.weights[1::2], strict=True):
            value = torch.tanh(value @ first) @ second
        return value.t().contiguous().t() if self.strided else value


def squared_error(output, target):
    """Return the mean over rows and columns."""
    return (output - target).square().mean()


def pipeline_step(case, rank, size):
    """Run `run_stage` on the given actions, or, where there are none, on the student's own."""
    from pipeline import one_forward_one_backward, run_stage

    actions = case["actions"]
    if actions is None:
        actions = one_forward_one_backward(rank, size, case["micro_batches"])
    module = Stage(case["weights"], case["strided"])
    inputs, targets, shapes = case["inputs"], case["targets"], case["shapes"]
    loss = run_stage(module, actions, inputs, targets, squared_error, shapes, rank, size)
    return {"loss": number(loss), "gradients": [weight.grad for weight in module.weights]}


# --- offload ------------------------------------------------------------------------------------------------

PUT, GET, DROP, END = range(4)
HEADER = 8  # int64 numbers: what is asked for, the key, the dtype, the number of dimensions, up to four sizes
DTYPES = (torch.float32, torch.float64, torch.bool, torch.int64)


class Fetch:
    """A tensor on its way back."""

    def __init__(self, tensor, work):
        self.tensor, self.work = tensor, work

    def wait(self):
        """Return the tensor when it is here."""
        self.work.wait()
        return self.tensor


class Store:
    """Rank 1 as another memory, seen from rank 0; see `offload.py` for what it offers."""

    def __init__(self):
        self.kinds = {}
        self.sending = []

    def put(self, tensor):
        key = len(self.kinds)
        self.kinds[key] = tensor.shape, tensor.dtype
        self._ask(PUT, key)
        dist.send(tensor.contiguous(), 1)
        return key

    def get(self, key):
        shape, dtype = self.kinds[key]
        self._ask(GET, key)
        buffer = torch.empty(shape, dtype=dtype)
        return Fetch(buffer, dist.irecv(buffer, 1))

    def drop(self, key):
        self._ask(DROP, key)

    def end(self):
        self._ask(END, 0)
        for _, work in self.sending:
            work.wait()

    def _ask(self, what, key):
        shape, dtype = self.kinds.get(key, ((), torch.float32))
        numbers = [what, key, DTYPES.index(dtype), len(shape), *shape]
        header = torch.tensor(numbers + [0] * (HEADER - len(numbers)))
        self.sending = [(one, work) for one, work in self.sending if not work.is_completed()]
        self.sending.append((header, dist.isend(header, 1)))


def serve(latency):
    """Be the store, on rank 1, where no code of the student's runs; return what happened.

    What comes is kept compressed: the data repeat themselves, so that the memory of both ranks together, which
    is what can be measured from outside, is that of rank 0. A copy back takes `latency` seconds at least.
    """
    kept, counts, header = {}, [0] * 4, torch.empty(HEADER, dtype=torch.int64)
    while True:
        dist.recv(header, 0)
        what, key, dtype, dims, *sizes = header.tolist()
        counts[what] += 1
        if what == PUT:
            tensor = torch.empty(sizes[:dims], dtype=DTYPES[dtype])
            dist.recv(tensor, 0)
            kept[key] = zlib.compress(tensor.flatten().view(torch.uint8).numpy(), 1)
            del tensor
        elif what == GET:
            end = perf_counter() + latency
            data = bytearray(zlib.decompress(kept[key]))
            tensor = torch.frombuffer(data, dtype=DTYPES[dtype]).view(sizes[:dims])
            sleep(max(0.0, end - perf_counter()))
            dist.send(tensor, 0)
        elif what == DROP:
            kept.pop(key, None)
        else:
            return {"left": len(kept), "counts": counts}


class Slow(torch.autograd.Function):
    """tanh(value * gain), with a backward pass that takes some seconds, as a large layer would on a GPU."""

    @staticmethod
    def forward(ctx, value, gain, seconds):
        output = torch.tanh(value * gain)
        ctx.seconds = seconds
        # Three tensors: an activation, a parameter, and one that is too small to travel.
        ctx.save_for_backward(value, gain, torch.ones(1))
        return output

    @staticmethod
    def backward(ctx, gradient):
        value, gain, one = ctx.saved_tensors
        sleep(ctx.seconds)
        inner = gradient * (one - torch.tanh(value * gain).square())
        return inner * gain, (inner * value).sum(0), None


def plain_offload(store, keep):
    """Return hooks that fetch each tensor when it is asked for, and not before: what prefetching is compared with."""
    home = {tensor.data_ptr() for tensor in keep}

    def pack(tensor):
        return tensor if tensor.nbytes < 1 << 16 or tensor.data_ptr() in home else store.put(tensor)

    def unpack(saved):
        if isinstance(saved, torch.Tensor):
            return saved
        tensor = store.get(saved).wait()
        store.drop(saved)
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def offloaded_steps(case, rank, size):
    """Train with saved tensors offloaded to rank 1, `steps` times forward and backward."""
    if rank == 1:
        return serve(case["latency"])
    store, phases = Store(), Phases()
    rows, repeats = case["rows"], case["repeats"]
    gains = [nn.Parameter(gain.repeat(repeats)) for gain in case["gains"]]
    for _ in range(case["steps"]):
        value = case["pattern"].repeat(rows, repeats).requires_grad_()
        if case["own"]:
            from offload import Offload

            hooks = Offload(store, keep=gains, ahead=case["ahead"])
        else:
            hooks = plain_offload(store, gains)
        phases.begin("forward")
        with hooks:
            for gain in gains:
                value = Slow.apply(value, gain, case["seconds"])
        del hooks
        phases.begin("backward")
        value.mean(0).sum().backward()
        del value
    store.end()
    # Repetitions have equal gradients: the first is enough.
    length = math.prod(case["pattern"].shape)
    return {"gradients": [gain.grad[:length].clone() for gain in gains], "peak": phases.peak()}
