# replaces: rerun.py
# method: look at all stages again after each, and a lock entry that is one hash of all that a stage read and wrote
import functools
import hashlib
import json


class PipelineError(ValueError):
    pass


def order(stages):
    names = sorted(stages)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = set(stages[one]["outs"]) & set(stages[other]["outs"])
            if shared:
                raise PipelineError(f"{sorted(shared)} is written by {one} and by {other}")
    result, left = [], set(names)
    while left:
        to_come = frozenset().union(*(stages[name]["outs"] for name in left))
        free = [name for name in left if to_come.isdisjoint(stages[name]["deps"])]
        if not free:
            raise PipelineError(f"these wait for each other: {sorted(trimmed(stages, left))}")
        result.append(min(free))
        left.remove(result[-1])
    return result


def trimmed(stages, left):
    """Leave out the stages that only come behind the circle."""
    while True:
        read = frozenset().union(*(stages[name]["deps"] for name in left))
        needed = {name for name in left if not read.isdisjoint(stages[name]["outs"])}
        if needed == left:
            return left
        left = needed


def need(found, what):
    if found is None:
        raise PipelineError(f"missing: {what}")
    return found


def value_of(params, dotted):
    try:
        return functools.reduce(lambda branch, step: branch[step], dotted.split("."), params)
    except (KeyError, TypeError):
        raise PipelineError(f"missing parameter: {dotted}") from None


def entry(stage, digests, params):
    facts = [
        stage["cmd"],
        [[path, need(digests.get(path), path)] for path in sorted(stage["deps"])],
        [[path, need(digests.get(path), path)] for path in sorted(stage["outs"])],
        [[name, value_of(params, name)] for name in sorted(stage["params"])],
    ]
    return {"trace": hashlib.md5(json.dumps(facts, sort_keys=True).encode()).hexdigest()}


def next_stage(stages, lock, digests, params):
    for name in order(stages):
        stage = stages[name]
        for path in stage["deps"]:
            need(digests.get(path), path)
        for each in stage["params"]:
            value_of(params, each)
        if any(path not in digests for path in stage["outs"]) or name not in lock:
            return name
        if lock[name] != entry(stage, digests, params):
            return name
    return None
