"""A profiler of modules: how long does each layer take, forward and backward, in the steps that are recorded?"""

import json
import time

import torch

### BEGIN SOLUTION


class Call:
    """One call of a module: when it began and ended, and the same of its backward pass (nanoseconds)."""

    def __init__(self, name, module, step, parent):
        self.name, self.kind, self.step, self.parent = name, type(module).__name__, step, parent
        self.parameters = set(module.parameters())
        self.forward, self.backward = [None, None], [None, None]
        self.from_inputs = False  # whether an input's gradient ends the backward pass
        self.views = []  # pairs: a view that the module got, and the input that it is a view of


def each(function, value):
    """Return `value` with `function` applied to the tensors in it that need a gradient."""
    if isinstance(value, torch.Tensor):
        return function(value) if value.requires_grad else value
    if isinstance(value, dict):
        return type(value)((key, each(function, one)) for key, one in value.items())
    if isinstance(value, (tuple, list)):
        inner = [each(function, one) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else type(value)(inner)
    return value


### END SOLUTION


class Profile:
    """Records when the modules of a model work, forward and backward, while its `with` block runs.

    The loop in the block ends each of its steps with `step()`. Of every `wait + warmup + active` steps the last
    `active` are recorded, again and again; without a schedule, all are.
    """

    def __init__(self, model, name="model", schedule=None, clock=time.perf_counter_ns):
        """Prepare for the `nn.Module` `model`, called `name` in the trace; nothing is hooked yet.

        `schedule`: None, or {"wait": int, "warmup": int, "active": int}. `clock()` returns nanoseconds (int).
        """
        ### BEGIN SOLUTION
        self.model, self.name, self.clock = model, name, clock
        self.schedule = schedule or {"wait": 0, "warmup": 0, "active": 1}
        self.calls, self.steps = [], []
        self.number, self.recording = 0, False
        self._stack, self._handles, self._open = [], [], []
        ### END SOLUTION

    def __enter__(self):
        """Hook all modules of the model, begin step 0, and return this object."""
        ### BEGIN SOLUTION
        for path, module in self.model.named_modules():
            name = f"{self.name}.{path}" if path else self.name
            before = lambda module, args, kwargs, name=name: self._begin(name, module, args, kwargs)  # noqa: E731
            self._handles += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(self._end, always_call=True),
            ]
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._accumulated))
        self._begin_step()
        return self
        ### END SOLUTION

    def __exit__(self, *error):
        """Remove all hooks, whatever happened; an exception of the block goes on."""
        ### BEGIN SOLUTION
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.recording = False
        ### END SOLUTION

    def step(self):
        """End a step of the loop and begin the next."""
        ### BEGIN SOLUTION
        if self.recording:
            self.steps.append((self.number, self._started, self.clock()))
        self.number += 1
        self._begin_step()
        ### END SOLUTION

    def summary(self):
        """Return, for the name of each module that was recorded, a dictionary of numbers summed over its calls.

        "calls" (int); "forward" and "backward" (microseconds); "forward_self" and "backward_self", the same
        without the calls of modules that this one made itself.
        """
        ### BEGIN SOLUTION
        table = {}
        columns = ("forward", "forward_self", "backward", "backward_self")
        for call in self._complete():
            row = table.setdefault(call.name, {"calls": 0} | dict.fromkeys(columns, 0.0))
            row["calls"] += 1
            for which in ("forward", "backward"):
                begin, end = getattr(call, which)
                spent = 0.0 if None in (begin, end) else (end - begin) / 1000
                row[which] += spent
                row[f"{which}_self"] += spent
                if call.parent is not None and call.parent.name in table:
                    table[call.parent.name][f"{which}_self"] -= spent
        return table
        ### END SOLUTION

    def to_perfetto(self, path):
        """Write the trace to the file `path`: JSON that ui.perfetto.dev and chrome://tracing load."""
        ### BEGIN SOLUTION
        events = []

        def add(name, kind, track, begin, end, **more):
            events.append(
                {
                    **{"name": name, "cat": kind, "ph": "X", "pid": 1, "tid": track},
                    **{"ts": begin / 1000, "dur": (end - begin) / 1000, "args": more},
                }
            )

        for number, begin, end in self.steps:
            add(f"step {number}", "step", 0, begin, end, step=number)
        for call in self._complete():
            for track, which in enumerate(("forward", "backward"), 1):
                begin, end = getattr(call, which)
                if None not in (begin, end):
                    add(call.name, which, track, begin, end, step=call.step, type=call.kind)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _begin_step(self):
        ahead = self.schedule["wait"] + self.schedule["warmup"]
        self.recording = self.number % (ahead + self.schedule["active"]) >= ahead
        self._stack.clear()
        self._open.clear()
        self._started = self.clock() if self.recording else None

    def _complete(self):
        """Return the calls that ended, their backward passes put in order.

        The hooks of one tensor are called one after the other, some microseconds apart: of a module that ends
        here, of one that begins, and of the module around it. What that makes of their order is mended.
        """
        calls = [call for call in self.calls if call.forward[1] is not None]
        within = {}
        for call in reversed(calls):  # a module was called before those within
            if None in call.backward:
                continue
            begin, end = call.backward
            above = call.parent
            while above is not None and None in above.backward:
                above = above.parent
            if above is not None:
                above.backward = [min(begin, above.backward[0]), max(end, above.backward[1])]
            within.setdefault(above, []).append(call)
        self._in_order(within, None, float("-inf"), float("inf"))
        return calls

    def _in_order(self, within, above, free, last):
        """Let the backward passes of the calls `within` the call `above` lie between `free` and `last`, and apart."""
        for call in sorted(within.get(above, ()), key=lambda call: call.backward[0]):
            begin = min(max(call.backward[0], free), last)
            call.backward = [begin, min(max(call.backward[1], begin), last)]
            free = call.backward[1]
            self._in_order(within, call, *call.backward)

    def _begin(self, name, module, args, kwargs):
        if not self.recording:
            return None
        call = Call(name, module, self.number, self._stack[-1] if self._stack else None)
        self._stack.append(call)
        self.calls.append(call)

        def alias(tensor):
            # A view of this call's own: its gradient is what this call gives, whoever else uses the tensor.
            call.from_inputs, own = True, tensor.view_as(tensor)
            call.views.append((own, tensor))
            own.register_hook(lambda gradient: self._input_ready(call))
            # Changed in place, the view has another history, and its hook is not called. What it was made of has one.
            tensor.register_hook(lambda gradient: self._input_ready(call, late=True))
            return own

        if torch.is_grad_enabled():
            args, kwargs = each(alias, args), each(alias, kwargs)
        call.forward[0] = self.clock()
        return args, kwargs

    def _end(self, module, args, output):
        if self.recording and self._stack:
            call = self._stack.pop()
            call.forward[1] = self.clock()
            swapped = []

            def watch(tensor):
                # The output as it is, or what the module got: a view could not be changed in place, or lose the hook.
                given = [original for own, original in call.views if own is tensor]
                swapped.extend(given)
                tensor = given[0] if given else tensor
                tensor.register_hook(lambda gradient: self._output_ready(call))
                return tensor

            result = each(watch, output) if torch.is_grad_enabled() else None
            call.views.clear()
            return result if swapped else None
        return None

    def _output_ready(self, call):
        if self.recording and call.backward[0] is None:
            call.backward[0] = self.clock()
            if not call.from_inputs:
                self._open.append(call)

    def _input_ready(self, call, late=False):
        if self.recording and not (late and call.backward[1]):
            call.backward[1] = self.clock()

    def _accumulated(self, parameter):
        if self.recording and self._open:
            now = self.clock()
            for call in self._open:
                if parameter in call.parameters:
                    call.backward[1] = now

    ### END SOLUTION
