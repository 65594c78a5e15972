import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from typer.testing import CliRunner

from effdl import build, claims, claims_table, device, results, scrub
from effdl.build import BuildError

LECTURE = """# A lab

What does it measure?

```python
import os, time
from effdl import plots
time.sleep(0.6)
print(os.getcwd())
print(os.path.basename(os.environ["EFFDL_NOTEBOOK"]), object())
```

```python
1 + 1
```
"""


WAIT_FOR_QUIET = build.wait_for_quiet


@pytest.fixture(autouse=True, scope="module")
def on_a_busy_machine():
    """Other tests run beside these: nothing here waits until they are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.0)
        yield


@pytest.fixture
def week(tmp_path, monkeypatch):
    folder = tmp_path / "week77_x"
    folder.mkdir()
    monkeypatch.setattr(build, "STAMPS", tmp_path / ".cache" / "executed.json")

    def write(text=LECTURE, name="lecture.md"):
        (folder / name).write_text(text)
        return folder / name

    return SimpleNamespace(folder=folder, write=write)


def command(*arguments):
    """Run `python -m effdl.build ARGUMENTS` in this process."""
    import typer

    app = typer.Typer()
    app.command()(build.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# Each execution starts a kernel, so one build serves many assertions.
@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "week77_x"
    folder.mkdir()
    source = folder / "lecture.md"
    source.write_text(LECTURE)
    with pytest.MonkeyPatch.context() as patch:
        # Pretend that the repository lies where the lab runs: its path must not reach the page.
        patch.setattr(build.Path, "home", lambda: folder.parent)
        build.build(source, lambda index: None)
    return source, nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_a_built_notebook_has_its_outputs_and_is_fresh(built):
    source, notebook = built
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code"]
    assert notebook.cells[2].outputs[0].data["text/plain"] == "2"
    assert not build.is_stale(source)
    nbformat.validate(notebook)


def test_an_output_holds_no_path_and_no_address(built):
    source, notebook = built
    printed = notebook.cells[1].outputs[0].text
    assert "~/week77_x" in printed
    assert str(source.parent) not in json.dumps(notebook)
    assert "lecture.md <object object at 0x…>" in printed


def test_a_built_notebook_holds_no_timing_and_no_python_version(built):
    _, notebook = built
    assert all(not cell.metadata for cell in notebook.cells)
    assert "version" not in notebook.metadata.language_info


def test_a_changed_text_makes_a_notebook_stale(built):
    source, _ = built
    text = source.read_text()
    try:
        source.write_text(text + "\nOne more word.\n")
        result = command("--check", source)
        assert result.exit_code == 1
        assert "stale: week77_x/lecture.md; run 'make notebooks'" in result.output
    finally:
        source.write_text(text)
    assert command("--check", source).exit_code == 0


def test_an_unchanged_notebook_is_not_built_again(built, monkeypatch):
    source, _ = built
    monkeypatch.setattr(build, "execute", lambda *arguments: pytest.fail("executed again"))
    result = command(source)
    assert result.exit_code == 0
    assert "1 of 1 notebooks did not change" in result.output


def test_a_failing_cell_is_named_and_no_notebook_is_written(week):
    source = week.write("# A lab\n\n```python\nx = 1\n```\n\n```python\nx / 0\n```\n")
    result = command(source)
    assert result.exit_code == 1
    assert "week77_x/lecture.md, cell 3 ('x / 0') failed" in result.output
    assert "ZeroDivisionError" in result.output
    assert not source.with_suffix(".ipynb").exists()


def test_a_notebook_that_ran_in_no_time_fails(week):
    with pytest.raises(BuildError, match=r"ran in 0\.\d\d s"):
        build.build(week.write("```python\nx = 1\n```\n"), lambda index: None)


def test_ctrl_c_ends_the_kernel_too_and_writes_nothing(week):
    mark = week.folder / "pid"
    source = week.write(
        "```python\nimport os, time\nprint(open('pid', 'w').write(str(os.getpid())))\n```\n\n"
        "```python\ntime.sleep(100)\n```\n"
    )
    main = "import typer; from effdl import build; build.wait_for_quiet = lambda seconds: 0.0; typer.run(build.main)"
    building = subprocess.Popen(
        [sys.executable, "-c", main, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        building.send_signal(signal.SIGINT)
        output, _ = building.communicate(timeout=30)
    finally:
        building.kill()
    assert building.returncode != 0
    assert "AssertionError" not in output  # what nbclient raises when its kernel is gone
    assert not psutil.pid_exists(int(mark.read_text()))
    assert not source.with_suffix(".ipynb").exists()


def test_a_notebook_without_code_fails(week):
    with pytest.raises(BuildError, match="no code cell"):
        build.build(week.write("# Only words\n"), lambda index: None)


def test_changing_one_cell_keeps_the_ids_of_the_others(week):
    source = week.write("```python\na = 1\n```\n\n```python\nb = 1\n```\n\n```python\nb = 1\n```\n")
    before = [cell.id for cell in build.read(source).cells]
    assert len(set(before)) == 3
    assert [cell.id for cell in build.read(source).cells] == before
    week.write(source.read_text().replace("a = 1", "a = 2"))
    after = [cell.id for cell in build.read(source).cells]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_a_fence_of_tildes_is_one_cell_whatever_blank_lines_it_holds(week):
    solution = "~~~python\na = 1\n\n\ndef f():\n    return a\n\n\nprint(f())\n~~~\n\nWhy it works."
    source = week.write(f"Before.\n\n\n{solution}\n\n```python\nb = 1\n```\n\nAfter.\n\n\nEnd.\n")
    assert [cell.source for cell in build.read(source).cells] == [
        "Before.",
        solution,
        "b = 1",
        "After.",
        "End.",
    ]


def test_outputs_over_the_limit_name_the_largest_cell(week):
    source = week.write("```python\nprint('small')\n```\n\n```python\nprint('x' * 10**6)\n```\n")
    notebook = build.read(source)
    for cell, size in zip(notebook.cells, (10, 10**6), strict=True):
        cell.outputs = [nbformat.v4.new_output("stream", text="x" * size)]
    with pytest.raises(BuildError, match=r"outputs hold 1000 KB.*cell 2 \(\"print\('x'"):
        build.check_size(notebook, source)


def test_a_slow_cell_is_named_so_that_a_log_tells_where_time_went(week, monkeypatch):
    monkeypatch.setattr(build, "SLOW_CELL", 0.5)
    told = command("--run", week.write()).output
    assert "cell 2 ('import os, time') took 1 s" in " ".join(told.split())
    assert "1 + 1" not in told


def test_a_host_name_is_taken_out_but_ordinary_words_stay(monkeypatch):
    def scrubbed(host, text):
        monkeypatch.setattr(scrub.socket, "gethostname", lambda: host)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text=text)]
        scrub.scrub(notebook)
        return notebook.cells[0].outputs[0].text

    assert scrubbed("node-17", "rank 0 on node-17:29500") == "rank 0 on localhost:29500"
    assert scrubbed("node-1", "node-17") == "node-17"
    assert scrubbed("gpu", "a gpu has warps") == "a gpu has warps"


def test_pictures_are_not_scrubbed(monkeypatch):
    monkeypatch.setattr(scrub.socket, "gethostname", lambda: "host0123")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
    data = {"image/png": "AAAA/host0123/AAAA"}
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data=dict(data))]
    scrub.scrub(notebook)
    assert notebook.cells[0].outputs[0].data == data


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```python\n" + "x = 1\n" * 26 + "```\n", "26 lines of code, at most 25"),
        ("```python\n%timeit x\n```\n", "'%timeit x' is not Python"),
        ("```python\nx = 1\n!ls\n```\n", "'!ls' is not Python"),
        ("```bash\nls\n```\n", "no shell lines"),
        ("```python\ndef f(:\n```\n", "is not Python"),
        ('```python tags=["raises-exception"]\n1 / 0\n```\n', "cell options"),
        ("```python\nTable(['a'], rows)\nx = 1\n```\n", "this Table is not the last"),
        ("![](roof.png)\n", "![](roof.png) without alternative text"),
        ("<img src='roof.png'>\n", "without alternative text"),
        ("```python\ncaption(fig, 'Times.')\n```\n", "caption() without alternative text"),
        ("```python\nnotebook.caption(fig, 'Times.', alt='')\n```\n", "caption() without alternative text"),
    ],
)
def test_a_broken_rule_is_named_with_its_cell(week, text, words):
    problems = build.lint(week.write("# A lab\n\n```python\nfine = 1\n```\n\n" + text))
    assert len(problems) == 1
    assert words in problems[0]
    assert "week77_x/lecture.md, cell 3" in problems[0]


def page(*claims, prose=""):
    """A source that makes these claims: (text, kind)."""
    calls = (f'claim("{text}", key="k{n}", kind="{kind}")' for n, (text, kind) in enumerate(claims))
    return f"# A lab\n\n{prose}\n\n" + "".join(f"```python\n{call}\n```\n\n" for call in calls)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (page(*[("It holds", "measured")] * 16), "16 claims, at most 15"),
        (page(*[("It holds", "measured")] * 5, *[("It holds", "derived")] * 3), "5 of 8 claims are measured"),
        (
            "```python\nclaim('It holds', key=name, kind='measured')\n```\n",
            "'It holds' is not written in the call",
        ),
        (page(("Peak memory of two steps", "measured")), "'Peak memory of two steps' has no verb"),
        (page(("The ring sends 1.5, over that of the tree", "measured")), "heads a number"),
        (page(("The ring sends (1: yes)", "measured")), "heads a number"),
        (page(prose="For L1: shorten this."), "'For L1', which is a note to its author"),
        (page(prose="TODO: a figure."), "'TODO', which is a note to its author"),
    ],
)
def test_a_lecture_keeps_the_rules_for_claims_and_holds_no_note_to_its_author(week, text, words):
    (problem,) = build.lint(week.write(text))
    assert words in problem


def test_a_seminar_may_make_more_claims_and_derive_most_of_them(week):
    text = page(*[("It holds", "derived")] * 20)
    assert build.lint(week.write(text, name="seminar.md")) == []


def test_cells_that_only_show_are_collapsed_and_no_others(week):
    shown = [
        'claim("It holds", key="a", kind="measured")',
        "if gpu:\n    claim(text, key='a', kind='measured')\nelse:\n    not_here(text, key='a')",
        "fig, ax = plt.subplots()\nfor row in rows:\n    ax.plot(row)\ncaption(fig, 'a', 'b')",
        "caption(figures.roof(points), 'a', 'b')",
    ]
    worked = ["x = measure()", "x = measure()\nclaim('It holds', key='a', kind='measured')", "x", "x ="]
    text = "# A lab\n\n" + "".join(f"```python\n{code}\n```\n\n" for code in shown + worked)
    cells = [cell for cell in build.read(week.write(text)).cells if cell.cell_type == "code"]
    collapsed = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    assert [cell.metadata for cell in cells] == [collapsed] * len(shown) + [{}] * len(worked)


def test_a_good_source_breaks_no_rule(week):
    text = "![a roof](roof.png)\n\n```python\n" + "x = 1\n" * 25 + "```\n\n```text\n$ nvidia-smi\n```\n"
    assert build.lint(week.write(text + "\n```python\ncaption(fig, 'Times.', 'bars')\n```\n")) == []


def test_readmes_are_no_notebooks_and_built_ones_stand_for_their_source(week):
    source = week.write()
    week.write("# Week", name="README.md")
    assert build.sources([week.folder]) == [source]
    assert build.sources([source.with_suffix(".ipynb")]) == [source]
    with pytest.raises(BuildError, match=r"nowhere\.md is neither"):
        build.sources([Path("nowhere.md")])


def test_strict_runs_skip_what_ran_before_until_code_changes_and_never_in_ci(week, monkeypatch):
    ran = []

    def execute(source, environment, on_cell):
        ran.append(environment["EFFDL_STRICT"])
        return build.read(source), 1.0

    monkeypatch.setattr(build, "execute", execute)
    source = week.write()
    for expected in (1, 1):
        assert command("--run", source).exit_code == 0
        assert ran == ["1"] * expected
    (week.folder / "kernel.py").write_text("x = 1\n")
    command("--run", source)
    assert len(ran) == 2
    command("--run", "--all", source)
    assert len(ran) == 3
    monkeypatch.setenv("CI", "true")
    command("--run", source)
    assert len(ran) == 4
    assert not source.with_suffix(".ipynb").exists()


def test_a_strict_run_that_failed_runs_again(week, monkeypatch):
    calls = []

    def execute(source, environment, on_cell):
        calls.append(source)
        raise BuildError("a claim does not hold")

    monkeypatch.setattr(build, "execute", execute)
    source = week.write()
    for count in (1, 2):
        result = command("--run", source)
        assert result.exit_code == 1
        assert "a claim does not hold" in result.output
        assert len(calls) == count


TIMES_OUT = """
```python
from pathlib import Path
from effdl.claims import claim
runs = Path("runs")
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
seen = len(runs.read_text())
claim("It runs often", key="runs", kind="measured", depends="{depends}", measured=seen, at_least={least})
```
"""


def counting(week, depends, least, known=True):
    """A notebook whose claim holds from the run of this number on; this kind of machine has recorded that it held."""
    source = week.write(LECTURE + TIMES_OUT.format(depends=depends, least=least))
    if known:
        entry = {"holds": True, "measured": 9, "text": "It runs often", "order": 0, "depends": depends}
        page = {"claims": {"runs": entry}, "versions": results.versions(), "date": "2026-01-31"}
        data = {"machine": {"kind": "this", "type": "cpu"}, "notebooks": {"lecture": page}}
        (week.folder / "results").mkdir()
        (week.folder / "results" / f"{device.kind()}.json").write_text(json.dumps(data))
    return source


@pytest.mark.drawn(4)
@pytest.mark.parametrize(("holds_in_run", "code"), [(2, 0), (3, 1)])
def test_a_claim_that_misses_its_machines_record_is_measured_once_more_and_not_twice(
    week, holds_in_run, code, monkeypatch
):
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.05)
    result = command("--run", counting(week, "machine", holds_in_run))
    assert result.exit_code == code
    assert (week.folder / "runs").read_text() == "xx"
    assert "runs once more; other programs use 5% of the processors" in result.output


@pytest.mark.drawn(4)
def test_on_a_machine_that_stays_busy_such_a_claim_is_listed(week, monkeypatch):
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.9)
    result = command("--run", counting(week, "machine", 3))
    assert result.exit_code == 0
    assert "1 claim does not hold on this machine this time" in result.output
    assert "It runs often: 2 (at least 3)" in result.output


def test_on_a_machine_that_nobody_recorded_a_miss_is_listed_and_does_not_fail(week):
    result = command("--run", counting(week, "machine", 9, known=False))
    assert result.exit_code == 0
    assert "1 claim does not hold on this machine, which nobody has recorded" in result.output
    assert "lecture.md: It runs often: 1 (at least 9)" in result.output
    assert (week.folder / "runs").read_text() == "x"


@pytest.mark.drawn(4)
def test_a_claim_that_depends_on_nothing_has_no_second_try(week):
    assert command("--run", counting(week, "nothing", 2)).exit_code == 1
    assert (week.folder / "runs").read_text() == "x"


@pytest.mark.drawn(4)
@pytest.mark.parametrize(
    ("holds_in_run", "code", "words"), [(2, 0, ", and passed when it ran again"), (3, 1, "")]
)
def test_make_test_runs_a_page_that_failed_once_more_and_tells_both(week, holds_in_run, code, words):
    result = command("--run", "--again", counting(week, "nothing", holds_in_run))
    assert result.exit_code == code
    assert (week.folder / "runs").read_text() == "xx"
    assert f"lecture.md failed{words}:\n" in result.output
    told = result.output.split(f"lecture.md failed{words}:")[1]
    assert [f"measured {run}, at least" in told for run in (1, 2)] == [True, holds_in_run == 3]


def test_what_a_failed_run_missed_is_not_told_of_the_run_that_counts(week, monkeypatch):
    ran = []

    def execute(source, environment, on_cell):
        ran.append(source)
        if len(ran) == 1:
            Path(environment["EFFDL_MISSES"]).write_text("{}")
            raise BuildError("a server did not start")
        return build.read(source), 1.0

    monkeypatch.setattr(build, "execute", execute)
    source = week.write()
    result = command("--run", "--again", source)
    assert (result.exit_code, build.MISSED) == (0, {})
    command("--run", source)
    assert len(ran) == 2


def test_a_recording_writes_the_results_of_this_kind_and_the_readme(week, monkeypatch):
    source = counting(week, "machine", 1, known=False)
    (week.folder / "README.md").write_text(f"{claims_table.BEGIN}\n{claims_table.END}\n")
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.9)
    assert "stop them first" in command("--record", source).output
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.0)
    assert command("--record", source).exit_code == 0
    assert (week.folder / "results" / f"{device.kind()}.json").exists()
    assert (
        "| It runs often | measured | machine | at least 1 | 1 |" in (week.folder / "README.md").read_text()
    )
    assert not source.with_suffix(".ipynb").exists()


def test_a_build_records_the_run_that_its_page_shows(week, monkeypatch):
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds: 0.9)
    source = counting(week, "machine", 1, known=False)
    (week.folder / "README.md").write_text(f"{claims_table.BEGIN}\n{claims_table.END}\n")
    result = command(source)
    assert result.exit_code == 0
    assert "other programs used 90% of the processors" in result.output
    assert (
        "| It runs often | measured | machine | at least 1 | 1 |" in (week.folder / "README.md").read_text()
    )
    assert "<b>1</b>; at least 1" in source.with_suffix(".ipynb").read_text()


@pytest.mark.drawn(4)
def test_a_recording_that_fails_leaves_the_results_as_they_were(week, monkeypatch):
    monkeypatch.setattr(build, "wait_for_quiet", lambda seconds=0: 0.0)
    source = counting(week, "machine", 1)
    source.write_text(source.read_text() + "\n```python\nraise RuntimeError('in the middle')\n```\n")
    (week.folder / "README.md").write_text(f"{claims_table.BEGIN}\n{claims_table.END}\n")
    before = (week.folder / "results" / f"{device.kind()}.json").read_bytes()
    result = command("--record", source)
    assert result.exit_code == 1
    assert "in the middle" in result.output
    assert (week.folder / "results" / f"{device.kind()}.json").read_bytes() == before


def test_build_and_claims_have_the_same_word_for_a_recorded_miss():
    assert build.RECORDED_MISS == claims.MISSED


@pytest.mark.drawn(4)
def test_a_notebook_with_listed_claims_runs_again_next_time(week):
    source = counting(week, "machine", 9, known=False)
    for runs in ("x", "xx"):
        assert "1 claim does not hold" in command("--run", source).output
        assert (week.folder / "runs").read_text() == runs


@pytest.mark.parametrize("path", sorted(build.ROOT.glob("week*/results/*.json")), ids=lambda path: path.stem)
def test_a_results_file_is_named_for_its_kind_of_machine(path):
    kind = json.loads(path.read_text())["machine"]["kind"]
    assert path.stem == device.file_name(kind)


def test_the_second_measurement_waits_for_a_busy_machine_but_not_for_ever():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(psutil.cpu_count())]
    try:
        start = time.monotonic()
        assert WAIT_FOR_QUIET(seconds=3) > 0.5
        assert 3 <= time.monotonic() - start < 30
    finally:
        for process in busy:
            process.kill()
            process.wait()


every_notebook = pytest.mark.parametrize("source", build.sources([]), ids=build.short_name)


@every_notebook
def test_the_committed_notebook_is_built_from_its_text(source):
    assert not build.is_stale(source), "run 'make notebooks' and commit the .ipynb files"


@every_notebook
def test_the_notebook_keeps_the_rules(source):
    assert build.lint(source) == []


@every_notebook
def test_the_committed_notebook_tells_nothing_about_the_machine_that_built_it(source):
    notebook = source.with_suffix(".ipynb")
    if not notebook.exists():
        pytest.skip("not built yet; the freshness test says so")
    outputs = [cell.get("outputs", []) for cell in nbformat.read(notebook, as_version=4).cells]
    text = json.dumps([output.get("data", output) for cell in outputs for output in cell])
    found = [pattern.pattern for pattern, _ in scrub.private_strings() if pattern.search(text)]
    assert found == []
