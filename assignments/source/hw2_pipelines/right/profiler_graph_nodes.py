# replaces: profiler.py
# method: walks the graph from a call's outputs to its inputs, and watches the nodes on the way
import json
import time
from collections import defaultdict

import torch


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)


def nodes_between(outputs, inputs):
    found, waiting = [], [one.grad_fn for one in outputs if one.grad_fn is not None]
    seen = set(inputs)
    while waiting:
        node = waiting.pop()
        if node in seen or type(node).__name__ == "AccumulateGrad":
            continue
        seen.add(node)
        found.append(node)
        waiting += [after for after, _ in node.next_functions if after is not None]
    return found


class Profile:
    def __init__(self, model, name="model", schedule=None, clock=time.perf_counter_ns):
        self.model, self.clock = model, clock
        self.names = {module: f"{name}.{path}".rstrip(".") for path, module in model.named_modules()}
        plan = schedule or dict(wait=0, warmup=0, active=1)
        self.ahead, self.cycle = plan["wait"] + plan["warmup"], sum(plan.values())
        self.step_number, self.on = 0, False
        self.spans, self.rows, self.stack, self.handles = [], [], [], []

    def __enter__(self):
        for module in self.names:
            self.handles.append(module.register_forward_pre_hook(self.enter_module, with_kwargs=True))
            self.handles.append(module.register_forward_hook(self.leave_module))
        self.start_step()
        return self

    def __exit__(self, kind, value, traceback):
        while self.handles:
            self.handles.pop().remove()
        self.on = False

    def start_step(self):
        self.on = self.step_number % self.cycle >= self.ahead
        self.stack = []
        self.begun = self.clock()

    def step(self):
        if self.on:
            self.spans.append((f"step {self.step_number}", "step", 0, self.begun, self.clock()))
        self.step_number += 1
        self.start_step()

    def enter_module(self, module, args, kwargs):
        if self.on:
            nodes = [one.grad_fn for one in tensors([args, kwargs]) if one.grad_fn is not None]
            row = {"name": self.names[module], "backward": [None, None], "above": None}
            if self.stack:
                row["above"] = self.stack[-1][2]
            self.stack.append([module, nodes, row, self.clock()])

    def leave_module(self, module, args, output):
        if not self.on:
            return
        end = self.clock()
        while self.stack[-1][0] is not module:
            self.stack.pop()  # of a call that raised
        _, before, row, begin = self.stack.pop()
        row["forward"] = begin, end
        self.rows.append(row)
        if torch.is_grad_enabled():
            for node in nodes_between(list(tensors(output)), before):
                node.register_prehook(lambda gradients, row=row: self.note(row, 0))
                node.register_hook(lambda gradients, arrived, row=row: self.note(row, 1))

    def note(self, row, which):
        if self.on and (which == 1 or row["backward"][0] is None):
            row["backward"][which] = self.clock()

    def spent(self):
        """Yield (row, kind, begin, end) of all that was recorded, ends that touch put in order."""
        for row in self.rows:
            yield row, "forward", *row["forward"]
        whole = [row for row in self.rows if None not in row["backward"]]
        for (
            row
        ) in whole:  # those within come first: a node's hooks are called in the order in which they were made
            if row["above"] and row["above"]["backward"][0]:
                row["above"]["backward"][0] = min(row["above"]["backward"][0], row["backward"][0])
        for row in whole:
            yield row, "backward", *row["backward"]

    def summary(self):
        table = defaultdict(
            lambda: dict.fromkeys(("forward", "forward_self", "backward", "backward_self"), 0.0)
        )
        for row, kind, begin, end in self.spent():
            mine = table[row["name"]]
            mine["calls"] = mine.get("calls", 0) + (kind == "forward")
            mine[kind] += (end - begin) / 1000
            mine[f"{kind}_self"] += (end - begin) / 1000
            if row["above"]:
                table[row["above"]["name"]][f"{kind}_self"] -= (end - begin) / 1000
        return {name: mine for name, mine in table.items() if mine.get("calls")}

    def to_perfetto(self, path):
        spans = self.spans + [
            (row["name"], kind, 1 + (kind == "backward"), begin, end)
            for row, kind, begin, end in self.spent()
        ]
        events = [
            dict(name=name, cat=cat, ph="X", pid=0, tid=tid, ts=begin / 1e3, dur=(end - begin) / 1e3)
            for name, cat, tid, begin, end in spans
        ]
        with open(path, "w") as file:
            file.write(json.dumps(events))
