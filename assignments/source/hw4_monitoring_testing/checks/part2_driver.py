"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw answers.
"""

import copy
import hashlib
import json
import os
import subprocess
import sys

# --- config -----------------------------------------------------------------------------------------------------


def composed(cases):
    """Return for each (files, name, overrides) the configuration or the error, and the files after the call."""
    from config import ConfigError, compose

    found = []
    for files, name, overrides in cases:
        try:
            answer = {"config": compose(files, name, list(overrides))}
        except ConfigError as error:
            answer = {"error": str(error)}
        except NotImplementedError:
            raise
        except Exception as error:
            answer = {"raised": f"{type(error).__name__}: {error}"}
        found.append({**answer, "files": files})
    return found


def twice(files, name, overrides):
    """Return the configuration of `overrides`, then that of none: what the first call changed shows in the second."""
    from config import ConfigError, compose

    first = compose(files, name, list(overrides))
    for value in first.values():
        if isinstance(value, dict):
            value.clear()
    found = []
    for again in (list(overrides), []):
        try:
            found.append({"config": compose(files, name, again)})
        except ConfigError as error:
            found.append({"error": str(error)})
    return found


def fingerprints(configs):
    """Return the fingerprint of each configuration, which comes as JSON so that the order of its keys is kept."""
    from config import fingerprint

    return [fingerprint(json.loads(text)) for text in configs]


def fingerprints_elsewhere(configs, seed):
    """Return the same from a new interpreter, whose hash() of texts begins with another seed."""
    program = (
        "import json, sys; from config import fingerprint; "
        "json.dump([fingerprint(json.loads(text)) for text in json.load(sys.stdin)], sys.stdout)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        *(),
        input=json.dumps(configs),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr[-500:])
    return json.loads(ran.stdout)


def sweeps(cases):
    """Return the runs of each list of overrides."""
    from config import sweep

    return [[list(run) for run in sweep(list(overrides))] for overrides in cases]


# --- rerun ------------------------------------------------------------------------------------------------------


def orders(cases):
    """Return the order of each pipeline, or its error."""
    from rerun import PipelineError, order

    found = []
    for stages in cases:
        try:
            found.append({"order": list(order(stages))})
        except PipelineError as error:
            found.append({"error": str(error)})
    return found


def digest(text):
    """Return the hash of a file's content."""
    return hashlib.sha256(text.encode()).hexdigest()


def written(name, stage, path, files, params, ignores):
    """Return the content that a stage gives to `path`: it follows from what the stage reads, and from nothing else.

    Of the files in `ignores`, a stage reads the first line only.
    """
    read = [files[each].split("\n")[0] if each in ignores else files[each] for each in stage["deps"]]
    values = []
    for each in stage["params"]:
        value = params
        for step in each.split("."):
            value = value[step]
        values.append(value)
    return digest(json.dumps([name, stage["cmd"], path, read, values]))


def reproduced(stages, files, params, edits, ignores):
    """Return which stages run at first, and then after each of `edits`, on files that are kept in a dictionary.

    An edit is ["file", path, content or None], ["param", dotted name, value], ["stage", name, key, value] or
    ["nothing"]. Where the pipeline is refused, that answer is the error, and the run ends there.
    """
    from rerun import PipelineError, entry, next_stage

    stages, files, params, lock, found = copy.deepcopy(stages), dict(files), copy.deepcopy(params), {}, []
    for what, *edit in [["nothing"], *edits]:
        if what == "file":
            path, content = edit
            files.pop(path, None)
            if content is not None:
                files[path] = content
        elif what == "param":
            *way, last = edit[0].split(".")
            place = params
            for step in way:
                place = place[step]
            place[last] = edit[1]
        elif what == "stage":
            stages[edit[0]][edit[1]] = edit[2]
        ran = []
        try:
            for _ in range(3 * len(stages)):
                digests = {path: digest(text) for path, text in files.items()}
                name = next_stage(copy.deepcopy(stages), copy.deepcopy(lock), digests, copy.deepcopy(params))
                if name is None:
                    break
                ran.append(name)
                stage = stages[name]
                try:
                    new = {path: written(name, stage, path, files, params, ignores) for path in stage["outs"]}
                except (KeyError, TypeError) as error:
                    return [*found, {"stuck": f"next_stage answers {name}, for which there is no {error}"}]
                files |= new
                digests = {path: digest(text) for path, text in files.items()}
                lock[name] = json.loads(
                    json.dumps(entry(copy.deepcopy(stage), digests, copy.deepcopy(params)))
                )
        except PipelineError as error:
            return [*found, {"error": str(error)}]
        found.append({"ran": ran})
    return found


# --- stages -----------------------------------------------------------------------------------------------------


def described():
    """Return the text of dvc.yaml."""
    from stages import dvc_yaml

    return dvc_yaml()
