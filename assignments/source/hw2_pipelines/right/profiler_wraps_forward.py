# replaces: profiler.py
# method: puts a function in the place of each module's forward; time spans are tidied when the trace is written
import functools
import json
import time

import torch
from torch.utils._pytree import tree_map


class Profile:
    def __init__(self, model, name="model", schedule=None, clock=time.perf_counter_ns):
        schedule = schedule or {}
        self.quiet = schedule.get("wait", 0) + schedule.get("warmup", 0)
        self.period = self.quiet + schedule.get("active", 1)
        self.model, self.title, self.clock = model, name, clock
        self.now_step = 0
        self.active = False
        self.log, self.steps, self.depth = [], [], []

    def __enter__(self):
        self.wrapped = []
        for path, module in self.model.named_modules():
            module.forward = self.wrap(
                module, module.forward, ".".join([self.title, path] if path else [self.title])
            )
            self.wrapped.append(module)
        self.hooks = [
            one.register_post_accumulate_grad_hook(self.gradient_done)
            for one in self.model.parameters()
            if one.requires_grad
        ]
        self.mark()
        return self

    def __exit__(self, *_):
        for module in self.wrapped:
            del module.forward
        for hook in self.hooks:
            hook.remove()
        self.active = False

    def mark(self):
        self.active = self.now_step % self.period >= self.quiet
        self.fresh = []
        self.entered = self.clock()

    def step(self):
        if self.active:
            self.steps.append((self.now_step, self.entered, self.clock()))
        self.now_step += 1
        self.mark()

    def wrap(self, module, forward, name):
        owned = {id(one) for one in module.parameters()}

        @functools.wraps(forward)
        def timed(*args, **kwargs):
            if not self.active:
                return forward(*args, **kwargs)
            record = {
                "name": name,
                "owned": owned,
                "up": self.depth[-1] if self.depth else None,
                "fed": False,
            }
            record |= {"b0": None, "b1": None}

            def own_view(tensor):
                if not (
                    isinstance(tensor, torch.Tensor) and tensor.requires_grad and torch.is_grad_enabled()
                ):
                    return tensor
                record["fed"] = True
                tensor.register_hook(lambda _: self.finish(record, False))
                view = tensor.view_as(tensor)
                view.register_hook(lambda _: self.finish(record, True))
                return view

            def start(tensor):
                if isinstance(tensor, torch.Tensor) and tensor.requires_grad and torch.is_grad_enabled():
                    tensor.register_hook(lambda _: self.begin(record))
                return tensor

            args, kwargs = tree_map(own_view, (args, kwargs))
            self.depth.append(record)
            record["f0"] = self.clock()
            try:
                result = forward(*args, **kwargs)
                record["f1"] = self.clock()
                self.log.append(record)
                self.fresh.append(record)
            finally:
                self.depth.pop()
            tree_map(start, result)
            return result

        return timed

    def begin(self, record):
        if self.active and record["b0"] is None:
            record["b0"] = self.clock()

    def finish(self, record, sure):
        if self.active and (sure or record["b1"] is None):
            record["b1"] = self.clock()

    def gradient_done(self, parameter):
        if self.active:
            moment = self.clock()
            for record in self.fresh:
                if not record["fed"] and record["b0"] is not None and id(parameter) in record["owned"]:
                    record["b1"] = moment

    def spans(self):
        for record in self.log:
            yield record, "forward", record["f0"], record["f1"]
        done = [record for record in self.log if record["b0"] is not None and record["b1"] is not None]
        for record in done:
            up = record["up"]
            while up is not None:
                if up["b0"] is not None:
                    up["b0"] = min(up["b0"], record["b0"])
                up = up["up"]
        for record in done:
            yield record, "backward", record["b0"], max(record["b0"], record["b1"])

    def summary(self):
        result = {}
        for record, kind, begin, end in self.spans():
            empty = {"calls": 0, "forward": 0, "backward": 0, "forward_self": 0, "backward_self": 0}
            mine = result.setdefault(record["name"], empty)
            mine["calls"] += kind == "forward"
            mine[kind] += (end - begin) * 1e-3
        for record, kind, begin, end in self.spans():
            result[record["name"]][f"{kind}_self"] += (end - begin) * 1e-3
            if record["up"] is not None and record["up"]["name"] in result:
                result[record["up"]["name"]][f"{kind}_self"] -= (end - begin) * 1e-3
        return result

    def to_perfetto(self, path):
        shape = lambda name, cat, tid, begin, end: {  # noqa: E731
            "ph": "X", "name": name, "cat": cat, "pid": 7, "tid": tid, "ts": begin * 1e-3, "dur": (end - begin) * 1e-3
        }  # fmt: skip
        events = [shape(f"step {number}", "step", 1, begin, end) for number, begin, end in self.steps]
        tracks = {"forward": 2, "backward": 3}
        events += [
            shape(one["name"], kind, tracks[kind], begin, end) for one, kind, begin, end in self.spans()
        ]
        with open(path, "w") as file:
            json.dump({"traceEvents": events}, file)
