# replaces: rerun.py
# method: a heap of ready stages, and a lock entry with every hash and value by its name
import heapq


class PipelineError(ValueError):
    pass


def writers(stages):
    by = {}
    for name, stage in stages.items():
        for path in stage["outs"]:
            if path in by:
                raise PipelineError(f"{by[path]} and {name} both write {path}")
            by[path] = name
    return by


def circle(before, left):
    seen, name = [], min(left)
    while name not in seen:
        seen.append(name)
        name = min(each for each in before[name] if each in left)
    return seen[seen.index(name) :]


def order(stages):
    by = writers(stages)
    before = {name: {by[path] for path in stage["deps"] if path in by} for name, stage in stages.items()}
    waiting = {name: len(each) for name, each in before.items()}
    behind = {name: [] for name in stages}
    for name, each in before.items():
        for other in each:
            behind[other].append(name)
    ready = [name for name, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    done = []
    while ready:
        name = heapq.heappop(ready)
        done.append(name)
        for other in behind[name]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, other)
    if len(done) < len(stages):
        raise PipelineError("circle: " + " -> ".join(circle(before, set(stages) - set(done))))
    return done


def parameter(params, name):
    value = params
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            raise PipelineError(f"no parameter {name}")
        value = value[step]
    return value


def entry(stage, digests, params):
    for path in [*stage["deps"], *stage["outs"]]:
        if path not in digests:
            raise PipelineError(f"{path} does not exist")
    return {
        "cmd": stage["cmd"],
        "deps": {path: digests[path] for path in stage["deps"]},
        "outs": {path: digests[path] for path in stage["outs"]},
        "params": {name: parameter(params, name) for name in stage["params"]},
    }


def next_stage(stages, lock, digests, params):
    names = order(stages)
    by = writers(stages)
    for name in names:
        for path in stages[name]["deps"]:
            if path not in digests and path not in by:
                raise PipelineError(f"{name} reads {path}, which nobody writes")
        for each in stages[name]["params"]:
            parameter(params, each)
    for name in names:
        stage, old = stages[name], lock.get(name)
        if old is None or old["cmd"] != stage["cmd"]:
            return name
        for kind in ("deps", "outs"):
            for path in stage[kind]:
                if path not in digests or digests[path] != old[kind].get(path):
                    return name
        for each in stage["params"]:
            if each not in old["params"] or old["params"][each] != parameter(params, each):
                return name
    return None
