"""Public checks of part 2. The hidden ones call the same procedures with other inputs."""

import builtins
import io
import json
import random
import runpy
import string
import types
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

from grader.checks import Failed, check, expect, expect_equal

WALL = 20  # seconds, only to end what hangs; an honest answer takes a few milliseconds


def listed(value, count, what):
    """Return a list of the student's, after a look at its form."""
    expect(type(value) is list and len(value) == count, f"{what} is damaged")
    return value


def words(sub, count, taken=()):
    """Return `count` different random words of five letters."""
    found = list(taken)
    while len(found) < count + len(taken):
        word = "".join(string.ascii_lowercase[sub.rng.integers(0, 26)] for _ in range(5))
        if word not in found:
            found.append(word)
    return found[len(taken) :]


# --- config -----------------------------------------------------------------------------------------------------


def shown(value):
    """Return a value of a configuration as JSON, short."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else text[:200] + "..."


def difference(mine, right, path=""):
    """Return (path, mine, right) of the first place where two configurations differ, types included; else None."""
    if type(mine) is dict and type(right) is dict:
        for key in sorted(mine.keys() | right.keys()):
            where = f"{path}.{key}" if path else str(key)
            if key not in mine or key not in right:
                missing = "no such key"
                return where, mine.get(key, missing), right.get(key, missing)
            found = difference(mine[key], right[key], where)
            if found:
                return found
        return None
    if type(mine) is list and type(right) is list and len(mine) == len(right):
        pairs = enumerate(zip(mine, right, strict=True))
        each = (difference(one, two, f"{path}[{number}]") for number, (one, two) in pairs)
        return next((found for found in each if found), None)
    return None if type(mine) is type(right) and mine == right else (path, mine, right)


def expect_composed(sub, cases):
    """Compare `compose` on each case: (name of the case, files, overrides, the right configuration)."""
    asked = [[files, "config", overrides] for _, files, overrides, _ in cases]
    found = sub.call("driver:composed", asked, wall=WALL).result
    for (name, _, overrides, right), answer in zip(
        cases, listed(found, len(cases), "the reply"), strict=True
    ):
        expect(type(answer) is dict, "the driver's reply is damaged")
        said = f"{name}{', ' + ' '.join(overrides) if overrides else ''}"
        if "raised" in answer:
            raise Failed(f"{said}: {str(answer['raised'])[:150]}", expected=shown(right))
        if "error" in answer:
            raise Failed(f"{said}: ConfigError, {str(answer['error'])[:150]}", expected=shown(right))
        expect(type(answer.get("config")) is dict, f"{said}: compose returned no dictionary")
        differs = difference(answer["config"], right)
        if differs:
            where, mine, wanted = differs
            raise Failed(f"{said}: {where} is another value", yours=shown(mine), expected=shown(wanted))


def expect_refused(sub, cases):
    """Each case must raise ConfigError, with the key in its message: (name, files, overrides, key)."""
    asked = [[files, "config", overrides] for _, files, overrides, _ in cases]
    found = sub.call("driver:composed", asked, wall=WALL).result
    for (name, _, overrides, key), answer in zip(cases, listed(found, len(cases), "the reply"), strict=True):
        expect(type(answer) is dict, "the driver's reply is damaged")
        said = f"{name}, {' '.join(overrides)}" if overrides else name
        if "raised" in answer:
            raise Failed(f"{said}: no ConfigError, but another exception", yours=str(answer["raised"])[:150])
        expect("error" in answer, f"{said}: no ConfigError", yours=shown(answer.get("config")))
        expect(
            key in str(answer["error"]),
            f"{said}: the message does not name {key!r}",
            yours=str(answer["error"])[:150],
        )


def some_files(sub):
    """Return (files, names): a file with two groups of two options each, and the random names that occur in it."""
    one, two, a, b, c, d, small, large, cold, warm = words(sub, 10)
    value = lambda: sub.rng.integers(1, 1000)  # noqa: E731
    files = {
        "config": {
            "defaults": [{one: small}, {two: warm}],
            a: value(),
            b: {c: value(), d: {c: value()}},
            two: {a: value(), c: {a: value(), b: value()}},
        },
        f"{one}/{small}": {a: value(), b: {c: [value(), value()], d: value()}},
        f"{one}/{large}": {a: value() + 1000, c: "many"},
        f"{two}/{cold}": {a: value(), d: None, c: {a: value()}},
        f"{two}/{warm}": {a: value() + 1000, b: True, c: {a: value() + 1000, d: value()}},
    }
    names = {"one": one, "two": two, "a": a, "b": b, "c": c, "d": d}
    return files, {**names, "small": small, "large": large, "cold": cold, "warm": warm}


@check(
    item="config",
    points=0.1,
    hint="Each file of a group stands under the name of the group. Two dictionaries are merged key by key, "
    "and those in them too; what comes later wins. Without _self_ the file's own content comes last.",
)
def files_are_merged(sub):
    """Two groups and the file's own keys, which win where both name one; with `_self_` first, the groups win."""
    files, n = some_files(sub)
    own = {key: value for key, value in files["config"].items() if key != "defaults"}
    one, two = files[f"{n['one']}/{n['small']}"], files[f"{n['two']}/{n['warm']}"]
    mine, c = own[n["two"]], n["c"]
    right = {**own, n["one"]: one, n["two"]: {**two, **mine, c: {**two[c], **mine[c]}}}
    first = {**files, "config": {**own, "defaults": ["_self_", *files["config"]["defaults"]]}}
    right_first = {**own, n["one"]: one, n["two"]: {**mine, **two, c: {**mine[c], **two[c]}}}
    cases = [("no _self_", files, [], right), ("_self_ first", first, [], right_first)]
    expect_composed(sub, cases)


@check(
    item="config",
    points=0.15,
    hint="The value after '=' is JSON where it can be read as JSON, and text elsewhere. A group's option is chosen "
    "before anything is merged.",
)
def overrides_change_the_run(sub):
    """A value, a new one with `+`, one less with `~`, another option of a group; numbers, text, lists, null."""
    files, n = some_files(sub)
    one, a, b, c, d = (n[key] for key in ("one", "a", "b", "c", "d"))
    (new,) = words(sub, 1, taken=n.values())
    # One group that shares no key with the file: how they are merged is another check's matter.
    own = {a: files["config"][a], b: files["config"][b]}
    files["config"] = {"defaults": [{one: n["small"]}], **own}
    small, large = files[f"{one}/{n['small']}"], files[f"{one}/{n['large']}"]
    base = {**own, one: small}
    number = sub.rng.integers(1, 1000)
    cases = [
        ("an integer", files, [f"{a}={number}"], {**base, a: number}),
        ("a deep one", files, [f"{b}.{d}.{c}={number}"], {**base, b: {**own[b], d: {c: number}}}),
        ("a float", files, [f"{a}=3e-4"], {**base, a: 0.0003}),
        ("true", files, [f"{a}=true"], {**base, a: True}),
        ("null", files, [f"{a}=null"], {**base, a: None}),
        ("text in quotes", files, [f'{a}="{number}"'], {**base, a: str(number)}),
        ("text with =", files, [f"{a}=x=1"], {**base, a: "x=1"}),
        ("a list", files, [f"{a}=[1, {number}]"], {**base, a: [1, number]}),
        ("+", files, [f"+{b}.{new}.{a}={number}"], {**base, b: {**own[b], new: {a: number}}}),
        ("~", files, [f"~{b}.{d}"], {**base, b: {c: own[b][c]}}),
        ("a group", files, [f"{one}.{c}=few", f"{one}={n['large']}"], {**base, one: {**large, c: "few"}}),
        ("the later one", files, [f"{a}=1", f"{a}={number}"], {**base, a: number}),
    ]
    expect_composed(sub, cases)


# --- sweep ------------------------------------------------------------------------------------------------------


@check(
    item="sweep",
    points=0.1,
    hint="Every value of the first with every value of the second; the last override changes fastest.",
)
def sweeps_run_every_combination(sub):
    """Two, three and one values make six runs, in this order; without a comma there is one."""
    a, b, c = words(sub, 3)
    values = [sub.rng.integers(1, 1000) for _ in range(6)]
    cases = [[f"{a}={values[0]},{values[1]}", f"{b}=x,y,{values[2]}", f"{c}={values[3]}"], [f"{a}=0.5"]]
    right = [
        [f"{a}={one}", f"{b}={two}", f"{c}={values[3]}"]
        for one in values[:2]
        for two in ("x", "y", values[2])
    ]
    found = listed(sub.call("driver:sweeps", cases, wall=WALL).result, 2, "the reply")
    expect_equal(found[0], right, of=f"runs of {' '.join(cases[0])}")
    expect_equal(found[1], [[f"{a}=0.5"]], of=f"runs of {a}=0.5")


# --- rerun ------------------------------------------------------------------------------------------------------


def stage(deps, outs, params=(), cmd="run"):
    """Return a stage as `rerun.py` takes it."""
    return {"cmd": cmd, "deps": list(deps), "outs": list(outs), "params": list(params)}


def ordered(needs, file, rule):
    """Return the names in the order of the statement ("first"), or in one of two that are not it."""
    done = []
    while len(done) < len(file):
        ready = [name for name in file if name not in done and set(needs[name]) <= set(done)]
        done += ready[:1] if rule == "in_file" else sorted(ready) if rule == "waves" else [min(ready)]
    return done


@check(
    item="rerun",
    points=0.15,
    hint="A stage is ready when every stage that writes one of its dependencies is done. Of those that are ready, "
    "the first in the alphabet comes next, and then you look again.",
)
def stages_follow_what_they_read(sub):
    """Three random pipelines of eight stages: the one order that the rules allow, whatever the order in the file."""
    cases, rights = [], []
    while len(cases) < 3:
        names = words(sub, 8)
        needs = {
            name: [names[sub.rng.integers(0, place)] for _ in range(sub.rng.integers(0, 3))] if place else []
            for place, name in enumerate(names)
        }
        file = [names[place] for place in sub.rng.permutation(8).tolist()]
        right, in_file, waves = (ordered(needs, file, rule) for rule in ("first", "in_file", "waves"))
        if right not in (in_file, waves):
            cases.append(
                {
                    name: stage([f"{each}.out" for each in needs[name]] + ["raw"], [f"{name}.out"])
                    for name in file
                }
            )
            rights.append(right)
    found = listed(sub.call("driver:orders", cases, wall=WALL).result, 3, "the reply")
    for case, answer, right in zip(cases, found, rights, strict=True):
        expect(type(answer) is dict, "the driver's reply is damaged")
        expect("order" in answer, "a pipeline that can run is refused", yours=str(answer.get("error"))[:150])
        needs = ", ".join(f"{name} after {'+'.join(one['deps'][:-1]) or 'raw'}" for name, one in case.items())
        expect_equal(answer["order"], right, of=f"order of the stages ({needs.replace('.out', '')})")


def expect_runs(sub, stages, files, params, edits, rights, ignores=()):
    """Compare which stages run at first and after each edit: `edits` are (words, edit), `rights` lists of names."""
    asked = [edit for _, edit in edits]
    found = sub.call("driver:reproduced", stages, files, params, asked, list(ignores), wall=WALL).result
    expect(type(found) is list and 0 < len(found) <= len(rights), "the driver's reply is damaged")
    for (said, _), answer, right in zip([("the first run", None), *edits], found, rights, strict=False):
        expect(type(answer) is dict, "the driver's reply is damaged")
        expect("error" not in answer, f"{said}: PipelineError, {str(answer.get('error'))[:150]}")
        expect("stuck" not in answer, f"{said}: {str(answer.get('stuck'))[:150]}")
        ran = answer.get("ran")
        expect(type(ran) is list, "the driver's reply is damaged")
        limit = 3 * len(stages)
        expect(
            len(ran) < limit,
            f"{said}: next_stage never answers None; what entry returns comes back from JSON, tuples as lists",
            yours=", ".join(map(str, ran[:8])),
        )
        # Sorted: in which order they come is another check's matter.
        ran, right = sorted(map(str, ran)), sorted(right)
        late, vain = (Counter(one) - Counter(two) for one, two in ((right, ran), (ran, right)))
        words = [f"{', '.join(late)} should run, and does not"] if late else []
        words += [f"{', '.join(vain)} runs in vain"] if vain else []
        expect(not words, f"{said}: {'; '.join(words)}", yours=", ".join(ran), spec=", ".join(right))


def a_pipeline(sub):
    """Return (stages, files, params, n): a diamond and a stage beside it, with random names."""
    names = sorted(words(sub, 5))
    first, left, right, last, lone = (names[place] for place in sub.rng.permutation(5).tolist())
    n = {"first": first, "left": left, "right": right, "last": last, "lone": lone}
    stages = {
        last: stage([f"{left}.out", f"{right}.out"], [f"{last}.out"]),
        left: stage([f"{first}.out", f"{left}.py"], [f"{left}.out"], ["rate"]),
        lone: stage(["other.csv"], [f"{lone}.out"], ["deep.seed"]),
        first: stage(["raw.csv"], [f"{first}.out", f"{first}.more"]),
        right: stage([f"{first}.more", "other.csv"], [f"{right}.out"], ["deep.size"]),
    }
    paths = ["raw.csv", "other.csv", f"{left}.py"]
    files = {path: f"{path}\n{sub.rng.integers(0, 10**9)}" for path in paths}
    params = {"rate": sub.rng.integers(1, 100), "deep": {"seed": 1, "size": 2}, "unused": 3}
    return stages, files, params, n


@check(
    item="rerun",
    points=0.25,
    hint="Compare the hash of each dependency with what the lock file has of it; outputs of earlier stages are "
    "dependencies too.",
)
def an_edit_runs_what_depends_on_it(sub):
    """Five stages: after a change of one file those run that depend on it, and after none, none."""
    stages, files, params, n = a_pipeline(sub)
    new = lambda: str(sub.rng.integers(0, 10**9))  # noqa: E731
    edits = [
        ("nothing was changed", ["nothing"]),
        ("raw.csv was changed", ["file", "raw.csv", new()]),
        (f"{n['left']}.py was changed", ["file", f"{n['left']}.py", new()]),
        ("other.csv was changed", ["file", "other.csv", new()]),
        ("nothing was changed since", ["nothing"]),
    ]
    rights = [
        list(n),
        [],
        ["first", "left", "right", "last"],
        ["left", "last"],
        ["lone", "right", "last"],
        [],
    ]
    expect_runs(sub, stages, files, params, edits, [[n[each] for each in right] for right in rights])


@check(
    item="rerun",
    points=0.15,
    hint="A stage names single parameters: another one in the same branch is not its business, and a name such as "
    "'deep' stands for all below it.",
)
def parameters_are_watched_by_name(sub):
    """Neighbours of a parameter, a parameter that nobody names, a whole branch, and a value that comes back."""
    stages, files, params, n = a_pipeline(sub)
    stages[n["last"]]["params"] = ["deep"]
    value = sub.rng.integers(100, 1000)
    edits = [
        ("deep.size was changed", ["param", "deep.size", value]),
        ("deep.seed was changed", ["param", "deep.seed", value]),
        ("a parameter that nobody names was changed", ["param", "unused", value]),
        ("deep.size was set to what it is", ["param", "deep.size", value]),
    ]
    rights = [list(n), ["right", "last"], ["lone", "last"], [], []]
    expect_runs(sub, stages, files, params, edits, [[n[each] for each in right] for right in rights])


# --- stages -----------------------------------------------------------------------------------------------------


@cache
def project():
    """Return the names of the project's file."""
    return types.SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_project.py"))))


NAMES = ("clean", "split", "train", "evaluate", "report")
PARAMETERS = {
    "seed": {"split", "train"},
    "clean.longest": {"clean"},
    "clean.verbose": set(),
    "split.share": {"split"},
    "train.rate": {"train"},
    "train.steps": {"train"},
    "train.note": set(),
    "evaluate.threshold": {"evaluate"},
}
"""Each parameter of the project, and the stages whose outputs it changes."""
RIGHT = {
    "clean": ({"src/clean.py", "src/tables.py", "data/raw.csv"}, {"work/clean.csv"}),
    "split": ({"src/split.py", "src/tables.py", "work/clean.csv"}, {"work/train.csv", "work/test.csv"}),
    "train": ({"src/train.py", "src/tables.py", "work/train.csv"}, {"work/model.json"}),
    "evaluate": (
        {"src/evaluate.py", "src/tables.py", "work/model.json", "work/test.csv"},
        {"work/errors.csv", "metrics.json"},
    ),
    "report": ({"src/report.py", "data/labels.json", "work/errors.csv", "metrics.json"}, {"report.txt"}),
}
"""What each stage reads (without params.yaml) and writes: only to tell needless runs from needed ones."""
LARGEST = 16_384  # bytes of a dvc.yaml: the reference has 900


def paths(value, stage_name, key):
    """Return the paths of a list of `dvc.yaml`, whose entries are paths, or a path with options."""
    expect(type(value) is list, f"dvc.yaml, {stage_name}: {key} is no list")
    found = []
    for each in value:
        if type(each) is dict and len(each) == 1:
            (each,) = each
        expect(type(each) is str, f"dvc.yaml, {stage_name}: an entry of {key} is no path", yours=shown(each))
        found.append(each.removeprefix("./").rstrip("/"))
    return found


def parameters(value, stage_name):
    """Return the dotted names of a list of parameters, all of params.yaml."""
    expect(type(value) is list, f"dvc.yaml, {stage_name}: params is no list")
    found = []
    for each in value:
        if type(each) is dict:
            expect(
                set(each) == {"params.yaml"} and type(each["params.yaml"]) in (list, type(None)),
                f"dvc.yaml, {stage_name}: params names another file than params.yaml",
                yours=shown(each),
            )
            # Without names, DVC watches the whole file.
            found += each["params.yaml"] or list(yaml.safe_load(project().PARAMS))
        else:
            found.append(each)
    expect(all(type(each) is str for each in found), f"dvc.yaml, {stage_name}: a parameter is no name")
    return found


def stages_of(sub):
    """Return the stages of the student's `dvc.yaml`: {name: {"deps", "params", "outs"}}; Failed for another form."""
    text = sub.call("driver:described", wall=WALL).result
    expect(type(text) is str, "dvc_yaml returned no text")
    expect(len(text) <= LARGEST, f"dvc.yaml has {len(text)} characters, more than {LARGEST}")
    try:
        kinds = [type(event) for event in yaml.parse(text, Loader=yaml.SafeLoader)]
        expect(yaml.AliasEvent not in kinds, "dvc.yaml uses an alias (*); write the list out")
        deep = most = 0
        for kind in kinds:
            deep += kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent)
            deep -= kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent)
            most = max(most, deep)
        expect(most <= 8, "dvc.yaml is nested more than eight deep")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Failed(f"dvc.yaml is no YAML: {' '.join(str(error).split())[:200]}") from None
    form = type(content) is dict and type(content.get("stages")) is dict
    expect(form and set(content) == {"stages"}, "dvc.yaml has something else than `stages:` at its top")
    stages = content["stages"]
    expect_equal(sorted(map(str, stages)), sorted(NAMES), of="names of the stages")
    found = {}
    for name, one in stages.items():
        expect(type(one) is dict, f"dvc.yaml, {name}: is no mapping")
        unknown = sorted(set(map(str, one)) - {"cmd", "deps", "params", "outs", "metrics", "plots", "desc"})
        expect(
            not unknown, f"dvc.yaml, {name}: {', '.join(unknown)} is a key that this homework does not use"
        )
        command = one.get("cmd")
        right = type(command) is str and command.split() == ["python", f"src/{name}.py"]
        expect(
            right, f"dvc.yaml, {name}: cmd is another one", yours=shown(command), spec=f"python src/{name}.py"
        )
        outs = [path for key in ("outs", "metrics", "plots") for path in paths(one.get(key) or [], name, key)]
        found[name] = {
            "deps": paths(one.get("deps") or [], name, "deps"),
            "params": parameters(one.get("params") or [], name),
            "outs": outs,
        }
    return found


def named(path, deps):
    """Return whether `deps` name the file, or a folder that it lies in."""
    return any(path == each or path.startswith(f"{each}/") for each in deps)


def run_script(name, files):
    """Run the project's script `name` on `files` (text by path); return what it wrote. Raises OSError, ImportError.

    The scripts are ours. They get an `open` of a file system that lies in a dictionary.
    """
    written = {}

    class Written(io.StringIO):
        def __init__(self, path):
            super().__init__()
            self.path = path

        def close(self):
            if not self.closed:
                written[self.path] = self.getvalue()
            super().close()

    def opened(path, mode="r", newline=None):
        if mode == "w":
            return Written(path)
        if path not in files:
            raise FileNotFoundError(2, "No such file", path)
        return io.StringIO(files[path])

    def imported(wanted, *rest):
        if wanted != "tables":
            return builtins.__import__(wanted, *rest)
        if "src/tables.py" not in files:
            raise FileNotFoundError(2, "No such file", "src/tables.py")
        module = types.ModuleType("tables")
        module.__dict__["__builtins__"] = own
        exec(compile(files["src/tables.py"], "src/tables.py", "exec"), module.__dict__)
        return module

    own = {**vars(builtins), "open": opened, "__import__": imported}
    path = f"src/{name}.py"
    if path not in files:
        raise FileNotFoundError(2, "No such file", path)
    exec(compile(files[path], path, "exec"), {"__builtins__": own, "__name__": "__main__"})
    return written


def a_project(sub):
    """Return the files of the project, with new data."""
    return project().files(random.Random(sub.rng.integers(0, 1 << 40)))


@check(
    item="stages",
    points=0.2,
    accepts={"cached": "the project stands in the statement"},
    hint="Open the script: what it opens to read is a dependency, and so are the script itself and what it imports; "
    "what it opens to write is an output or a metric.",
)
def stages_name_their_files(sub):
    """Each stage runs where only its dependencies are, and writes what it names, and nothing besides."""
    stages = stages_of(sub)
    writers = {path: name for name, one in stages.items() for path in one["outs"]}
    count = sum(len(one["outs"]) for one in stages.values())
    expect(count == len(writers), "dvc.yaml: two stages, or one twice, name the same output")
    files = a_project(sub)
    for name in NAMES:
        one = stages[name]
        for path in one["deps"]:
            # `files` has by now what the stages before this one write.
            there = any(named(each, [path]) for each in files)
            expect(there, f"{name} depends on {path}, which is not there before {name} runs")
            expect(path != "params.yaml", f"{name} depends on params.yaml: any edit of it would run {name}")
        visible = {
            path: text for path, text in files.items() if path == "params.yaml" or named(path, one["deps"])
        }
        try:
            written = run_script(name, visible)
        except FileNotFoundError as error:
            raise Failed(
                f"{name} needs {error.filename}, which its deps do not name: a change of it would run nothing"
            ) from None
        more = sorted(set(written) - set(one["outs"]))
        expect(not more, f"{name} writes {', '.join(more)}, which its outs and metrics do not name")
        less = sorted(set(one["outs"]) - set(written))
        expect(not less, f"{name} does not write {', '.join(less)}, which its outs or metrics name")
        files |= written
