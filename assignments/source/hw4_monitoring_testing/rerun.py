"""Which stages of a pipeline must run again, decided by hashes and never by dates."""

from collections.abc import Mapping


class PipelineError(ValueError):
    """The pipeline cannot run as it is written; the message names the stages, the file or the parameter."""


def order(stages: Mapping[str, dict]) -> list[str]:
    """Return the names of the stages, each behind those that write what it depends on.

    Of those that could come next, the first in the alphabet does. A stage has "cmd" (text), "deps" and "outs" (lists
    of paths) and "params" (a list of dotted names). Raises PipelineError for a circle, and where two stages write the
    same path.
    """
    ### BEGIN SOLUTION
    maker = {}
    for name, stage in stages.items():
        for path in stage["outs"]:
            if path in maker:
                raise PipelineError(f"{maker[path]} and {name} both write {path}")
            maker[path] = name
    needs = {name: {maker[path] for path in stage["deps"] if path in maker} for name, stage in stages.items()}
    done = []
    while len(done) < len(stages):
        ready = [name for name in sorted(stages) if name not in done and needs[name] <= set(done)]
        if not ready:
            raise PipelineError(f"a circle: {', '.join(sorted(set(stages) - set(done)))}")
        done.append(ready[0])
    return done
    ### END SOLUTION


def entry(stage: dict, digests: Mapping[str, str], params: dict) -> dict:
    """Return what the lock file keeps of a stage that has just run; what it is, you decide. It goes through JSON.

    `digests` has the hash of every file that exists, by its path; `params` is the whole parameter file. Raises
    PipelineError for a file that the stage names and that does not exist, and for a parameter that is not there.
    """
    ### BEGIN SOLUTION
    return {
        "cmd": stage["cmd"],
        "deps": {path: _digest(path, digests) for path in stage["deps"]},
        "outs": {path: _digest(path, digests) for path in stage["outs"]},
        "params": {each: _parameter(each, params) for each in stage["params"]},
    }
    ### END SOLUTION


def next_stage(
    stages: Mapping[str, dict], lock: dict, digests: Mapping[str, str], params: dict
) -> str | None:
    """Return the first stage, in the order of `order`, that must run now; None if all is as the lock says.

    `lock` has, by the names of stages, what `entry` returned when each ran last. A stage must run where the lock has
    none of it; where its command, the hash of a dependency, or the value of a parameter that it names is not what it
    was; and where an output is missing, or was changed by somebody else. Raises PipelineError for a dependency that
    does not exist and that no stage writes, and for a parameter that is not there.
    """
    ### BEGIN SOLUTION
    for name in order(stages):
        stage = stages[name]
        now = {
            "cmd": stage["cmd"],
            "deps": {path: _digest(path, digests) for path in stage["deps"]},
            "outs": {path: digests.get(path) for path in stage["outs"]},
            "params": {each: _parameter(each, params) for each in stage["params"]},
        }
        if lock.get(name) != now:
            return name
    return None


def _digest(path, digests):
    if path not in digests:
        raise PipelineError(f"{path} does not exist, and no stage writes it")
    return digests[path]


def _parameter(name, params):
    place = params
    for step in name.split("."):
        if not isinstance(place, dict) or step not in place:
            raise PipelineError(f"the parameter {name} is not there")
        place = place[step]
    return place
    ### END SOLUTION
