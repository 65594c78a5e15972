"""Hidden checks of part 2: the same properties on other inputs. Never released."""

import json
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from grader.checks import check, expect, expect_equal


@cache
def public():
    """Return the names of the public file; at import its checks would be declared a second time, as hidden ones."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part2_public.py"))))


# --- config -----------------------------------------------------------------------------------------------------


@check(
    item="config",
    points=0.15,
    hint="Interpolations are looked up when all overrides are done, in the whole configuration. One that is the "
    "whole text keeps its type; within a text it becomes text.",
)
def interpolations_follow_the_overrides(sub):
    """A reference to a number, a list, a dictionary, within a text, twice in one, through another, and overridden."""
    a, b, c, d, e, f, g = public().words(sub, 7)
    size, many = sub.rng.integers(1, 1000), [sub.rng.integers(1, 9), sub.rng.integers(1, 9)]
    own = {
        a: size,
        b: {c: f"${{{a}}}", d: many},
        e: f"run-${{{a}}}-${{{b}.{c}}}",
        f: [f"${{{b}.{d}}}", {g: f"${{{b}}}"}],
    }
    files = {"config": own}

    def right(value):
        inner = {c: value, d: many}
        return {a: value, b: inner, e: f"run-{value}-{value}", f: [many, {g: inner}]}

    (other,) = public().words(sub, 1)  # text: what values become is another check's matter
    public().expect_composed(
        sub,
        [
            ("interpolation", files, [], right(size)),
            ("interpolation of what was overridden", files, [f"{a}={other}"], right(other)),
            (
                "interpolation in an override",
                files,
                [f"{e}=${{{b}.{d}}}"],
                {**right(size), e: many},
            ),
        ],
    )


@check(
    item="config",
    points=0.15,
    hint="A typo must not start a run: what does not exist is refused, with its name.",
)
def what_cannot_be_is_refused(sub):
    """ConfigError that names it: an unknown key, group option, `+` of what is there, `~` of what is not, circles."""
    files, n = public().some_files(sub)
    (typo,) = public().words(sub, 1, taken=n.values())
    a, b, c, one = n["a"], n["b"], n["c"], n["one"]
    loop = {"config": {a: f"${{{b}}}", b: f"x ${{{c}.{a}}}", c: {a: f"${{{a}}}"}}}
    lost = {"config": {a: 1, b: f"${{{typo}}}"}}
    public().expect_refused(
        sub,
        [
            ("a typo", files, [f"{typo}=1"], typo),
            ("a typo deep inside", files, [f"{b}.{typo}=1"], typo),
            ("a typo on the way", files, [f"{typo}.{c}=1"], typo),
            ("an option that there is not", files, [f"{one}={typo}"], typo),
            ("+ of what is there", files, [f"+{a}=1"], a),
            ("~ of what is not there", files, [f"~{b}.{typo}"], typo),
            ("a circle of interpolations", loop, [], b),
            ("a reference to nothing", lost, [], typo),
        ],
    )


@check(
    item="config",
    points=0.1,
    hint="A configuration that shares a dictionary with the files, or with the next configuration, changes with it.",
)
def files_stay_as_they_are(sub):
    """What one call returned is emptied; the next calls give what they gave before."""
    files, n = public().some_files(sub)
    files["config"]["defaults"] = [{n["one"]: n["small"]}]
    own = {key: value for key, value in files["config"].items() if key != "defaults"}
    small = files[f"{n['one']}/{n['small']}"]
    (word,) = public().words(sub, 1, taken=n.values())
    overrides = [f"{n['b']}.{n['c']}={word}", f"~{n['one']}.{n['b']}.{n['d']}"]
    found = sub.call("driver:twice", files, "config", overrides, wall=public().WALL).result
    plain = {**own, n["one"]: small}
    changed = {
        **plain,
        n["b"]: {**own[n["b"]], n["c"]: word},
        n["one"]: {**small, n["b"]: {n["c"]: small[n["b"]][n["c"]]}},
    }
    names = ("the second call, with the same overrides", "a call without overrides")
    for of, mine, right in zip(names, public().listed(found, 2, "the reply"), (changed, plain), strict=True):
        expect(type(mine) is dict, "the driver's reply is damaged")
        expect(
            "error" not in mine, f"{of}: ConfigError, {str(mine.get('error'))[:150]}; the first call was fine"
        )
        differs = public().difference(mine.get("config"), right)
        if differs:
            expect_equal(public().shown(differs[1]), public().shown(differs[2]), of=f"{differs[0]}, {of}")


@check(
    item="config",
    points=0.1,
    hint="hash() of a text differs from process to process; 1 == 1.0 == True for Python, but not for a run.",
)
def fingerprints_tell_configurations_apart(sub):
    """Two processes: equal configurations in another order have one name, twelve others have twelve."""
    a, b, c = public().words(sub, 3)
    number = sub.rng.integers(2, 1000)
    base = {a: number, b: {c: [1, 2], a: "x"}}
    same = json.dumps({b: {a: "x", c: [1, 2]}, a: number})
    others = [
        {**base, a: float(number)},
        {**base, a: str(number)},
        {**base, a: number + 1},
        {**base, b: {c: [2, 1], a: "x"}},
        {**base, b: {c: [1, 2, 2], a: "x"}},
        {**base, b: {c: [1, 2]}},
        {**base, b: {c: [1, 2], a: "x", b: None}},
        {**base, b: {c: [True, 2], a: "x"}},
        {**base, b: {c: [1, 2], a: "x "}},
        {a: number, c: {c: [1, 2], a: "x"}},
        {**base, b: [{c: [1, 2], a: "x"}]},
        {**base, c: {}},
    ]
    texts = [json.dumps(base), same, *map(json.dumps, others)]
    seed, wall = sub.rng.integers(1, 10**6), public().WALL
    found = [
        sub.call("driver:fingerprints", texts, wall=wall).result,
        sub.call("driver:fingerprints_elsewhere", texts[::-1], seed, wall=wall).result,
    ]
    for answer in found:
        public().listed(answer, len(texts), "the reply")
        expect(all(type(one) is str for one in answer), "a fingerprint is no text")
    expect_equal(found[1][::-1], found[0], of="fingerprints in another process, in the other order")
    expect_equal(found[0][1], found[0][0], of="fingerprint of the same keys in another order")
    seen = {}
    for text, one in zip(texts[1:], found[0][1:], strict=True):
        expect(
            one not in seen,
            "two different configurations have one fingerprint",
            yours=f"{seen.get(one)}, {text}",
        )
        seen[one] = text


@check(
    item="sweep",
    points=0.15,
    hint="A comma within [ ], { } or double quotes belongs to the value.",
)
def sweeps_separate_at_commas_outside(sub):
    """Lists, dictionaries and quoted texts with commas, overrides without '=', and the empty sweep."""
    a, b, c = public().words(sub, 3)
    one, two = sub.rng.integers(1, 1000), sub.rng.integers(1, 1000)
    cases = [
        [f"{a}=[{one},{two}],[{two}]"],
        [f'{a}="x,y",{one}', f"~{b}"],
        [f'{a}={{"u": [{one}, {two}], "v": 1}},null', f"+{c}=1"],
        [f"{a}=[[{one},2],[3,4]],5"],
        [],
    ]
    rights = [
        [[f"{a}=[{one},{two}]"], [f"{a}=[{two}]"]],
        [[f'{a}="x,y"', f"~{b}"], [f"{a}={one}", f"~{b}"]],
        [[f"{a}={each}", f"+{c}=1"] for each in (f'{{"u": [{one}, {two}], "v": 1}}', "null")],
        [[f"{a}=[[{one},2],[3,4]]"], [f"{a}=5"]],
        [[]],
    ]
    found = public().listed(
        sub.call("driver:sweeps", cases, wall=public().WALL).result, len(cases), "the reply"
    )
    for case, mine, right in zip(cases, found, rights, strict=True):
        expect_equal(mine, right, of=f"runs of {case}")


# --- rerun ------------------------------------------------------------------------------------------------------


@check(
    item="rerun",
    points=0.2,
    hint="Look at the hashes again after each stage: whoever decides for all stages before the first has run, runs "
    "too many.",
)
def an_equal_output_ends_the_wave(sub):
    """A change that leaves a stage's output as it was runs this stage and none behind it."""
    stages, files, params, n = public().a_pipeline(sub)
    first = lambda path: files[path].split("\n")[0]  # noqa: E731
    edits = [
        (
            "after a change of raw.csv that the first stage does not see",
            ["file", "raw.csv", f"{first('raw.csv')}\nx"],
        ),
        ("after a change of other.csv that one of two does not see", ["file", "other.csv", "new\nx"]),
        ("nothing was changed", ["nothing"]),
    ]
    rights = [list(n), ["first"], ["lone", "right", "last"], []]
    rights = [[n[each] for each in right] for right in rights]
    public().expect_runs(sub, stages, files, params, edits, rights, ignores=["raw.csv"])


@check(
    item="rerun",
    points=0.15,
    hint="Look at the outputs too: one may be missing, or somebody may have edited it. The command counts as well.",
)
def outputs_and_commands_are_watched(sub):
    """An output is deleted, one is edited by hand, a command is changed."""
    stages, files, params, n = public().a_pipeline(sub)
    edits = [
        ("an output was deleted", ["file", f"{n['last']}.out", None]),
        ("an output was edited by hand", ["file", f"{n['lone']}.out", "edited"]),
        ("the command of the last stage was changed", ["stage", n["last"], "cmd", "run --faster"]),
        ("a parameter more is named", ["stage", n["lone"], "params", ["deep.seed", "unused"]]),
    ]
    rights = [list(n), ["last"], ["lone"], ["last"], ["lone"]]
    rights = [[n[each] for each in right] for right in rights]
    public().expect_runs(sub, stages, files, params, edits, rights)


@check(
    item="rerun",
    points=0.1,
    hint="A circle has no first stage; two stages that write one file would take turns for ever. What does not "
    "exist has no hash and no value: say its name.",
)
def impossible_pipelines_are_refused(sub):
    """PipelineError that names them: a circle of three, one output of two stages, a missing file and parameter."""
    stages, files, params, n = public().a_pipeline(sub)
    one = public().stage
    a, b, c, lone = sorted(public().words(sub, 4))
    circle = {a: one(["c"], ["a"]), b: one(["a"], ["b"]), c: one(["b"], ["c"]), lone: one(["raw"], ["lone"])}
    double = {a: one(["raw"], ["x"]), b: one(["raw"], ["y", "x"])}
    found = sub.call("driver:orders", [circle, double], wall=public().WALL).result
    cases = [("a circle", [a, b, c]), ("two stages with one output", [a, b, "x"])]
    for (said, words), answer in zip(cases, public().listed(found, 2, "the reply"), strict=True):
        expect(type(answer) is dict, "the driver's reply is damaged")
        expect("error" in answer, f"{said}: no PipelineError", yours=str(answer.get("order"))[:100])
        missing = [word for word in words if word not in str(answer["error"])]
        expect(
            not missing,
            f"{said}: the message does not name {', '.join(missing)}",
            yours=str(answer["error"])[:150],
        )
    gone = {path: text for path, text in files.items() if path != "raw.csv"}
    single = {n["lone"]: stages[n["lone"]]}
    for said, word, given in (
        ("a file that does not exist", "raw.csv", ({n["first"]: stages[n["first"]]}, gone, params)),
        ("a parameter that is not there", "deep.seed", (single, files, {**params, "deep": {"size": 1}})),
    ):
        answer = sub.call("driver:reproduced", *given, [], [], wall=public().WALL).result
        right = type(answer) is list and len(answer) == 1 and type(answer[0]) is dict
        expect(right, "the driver's reply is damaged")
        expect(
            "error" in answer[0],
            f"{said}: no PipelineError",
            yours=str(answer[0].get("stuck", answer[0].get("ran")))[:150],
        )
        expect(
            word in str(answer[0]["error"]),
            f"{said}: the message does not name {word}",
            yours=str(answer[0]["error"])[:150],
        )


# --- stages -----------------------------------------------------------------------------------------------------


@check(
    item="stages",
    points=0.15,
    accepts={"cached": "the project stands in the statement"},
    hint="A stage names the parameters that change what it writes, one by one; a branch stands for all below it.",
)
def parameters_reach_their_stages(sub):
    """An edit of each of the eight parameters runs the stages whose outputs it changes, and no other."""
    stages = public().stages_of(sub)
    for parameter, right in public().PARAMETERS.items():
        runs = {
            name
            for name, one in stages.items()
            if any(parameter == each or parameter.startswith(f"{each}.") for each in one["params"])
        }
        late = sorted(right - runs)
        expect(
            not late,
            f"an edit of {parameter} does not run {', '.join(late)}, whose outputs would stay the old ones",
        )
        more = sorted(runs - right)
        expect(not more, f"an edit of {parameter} runs {', '.join(more)}, which it does not change")


@check(
    item="stages",
    points=0.15,
    accepts={"cached": "the project stands in the statement"},
    hint="A stage depends on the files that it opens, and not on those from which they were made.",
)
def an_edit_runs_no_more_than_it_must(sub):
    """A comment in each script, spaces in raw.csv, another label: no stage runs in vain."""
    stages, files = public().stages_of(sub), public().a_project(sub)
    whole = dict(files)
    for name in public().NAMES:
        whole |= public().run_script(name, whole)
    edits = [(path, f"{text}\n# a comment\n") for path, text in files.items() if path.startswith("src/")]
    edits.append(("data/raw.csv", files["data/raw.csv"].replace("  ", "   ")))
    edits.append(("data/labels.json", files["data/labels.json"].replace("question", "enquiry")))
    for path, text in edits:
        now, changed, runs = {**whole, path: text}, {path}, []
        for name in public().NAMES:
            needed, _ = public().RIGHT[name]
            asked = any(public().named(each, stages[name]["deps"]) for each in changed)
            if changed & needed or asked:
                if not changed & needed:
                    runs.append(name)
                written = public().run_script(name, now)
                changed |= {each for each, new in written.items() if now[each] != new}
                now |= written
        expect(not runs, f"an edit of {path} runs {', '.join(runs)}, which writes what it has written before")
