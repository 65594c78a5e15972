import contextlib
import json
import math
import re
import socket
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effdl import claims, claims_table
from effdl import results as files
from effdl.bench import Ratio
from effdl.claims import ClaimFailed, ClaimMissedHere

numbers = st.floats(-1e6, 1e6)


ANY_CLAIM = """```python
claim(text, key=f"{name}", kind="measured", depends="nothing", measured=1, at_least=0)
```
"""


def named(text):
    """A key for a claim whose key does not matter."""
    return "-".join(re.findall("[a-z0-9]+", text.lower()))


def claim(text, kind="measured", **rest):
    return claims.claim(text, kind=kind, **{"key": named(text)} | rest)


def not_here(text, **rest):
    claims.not_here(text, **{"key": named(text)} | rest)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    monkeypatch.setattr(claims, "_keys", [])
    monkeypatch.setattr(claims, "made", [])


@pytest.fixture
def week(tmp_path, monkeypatch):
    """A week's folder whose lecture runs from top to bottom, as effdl.build and effdl.run do it.

    `start(notebook, kind)` begins a run that is recorded, on a machine of this kind; `again(notebook, kind)` one that
    is not.
    """
    real = files.machine()
    for notebook in ("lecture", "seminar"):
        # A source that could make any claim.
        (tmp_path / f"{notebook}.md").write_text(ANY_CLAIM)
    monkeypatch.setenv("EFFDL_NOTEBOOK", str(tmp_path / "lecture.md"))

    def again(notebook, kind):
        claims._keys.clear()
        monkeypatch.setenv("EFFDL_NOTEBOOK", str(tmp_path / f"{notebook}.md"))
        monkeypatch.delenv("EFFDL_RECORD", raising=False)
        monkeypatch.setattr(claims.device, "kind", lambda: kind)
        shown = {"kind": kind, "type": "cuda" if kind == "h200" else "cpu"}
        monkeypatch.setattr(files, "machine", lambda: real | shown)

    def start(notebook, kind):
        again(notebook, kind)
        monkeypatch.setenv("EFFDL_RECORD", "1")

    return SimpleNamespace(folder=tmp_path, start=start, again=again)


def results(week, name):
    return json.loads((week.folder / "results" / f"{name}.json").read_text())


@given(numbers, numbers, numbers)
def test_a_claim_holds_exactly_between_its_bounds(measured, low, high):
    assert bool(claim("x", depends="nothing", measured=measured, at_least=low, at_most=high)) == (
        low <= measured <= high
    )


@given(numbers, st.floats(0, 1))
def test_an_expected_value_holds_within_its_tolerance(expected, rel):
    inside = expected + 0.99 * rel * abs(expected)
    outside = expected + 1.01 * rel * abs(expected) + 1
    assert claim("x", depends="nothing", measured=inside, expected=expected, rel=rel)
    assert not claim("x", depends="nothing", measured=outside, expected=expected, rel=rel)


def test_expected_without_a_tolerance_is_exact():
    assert claim("bytes", depends="nothing", measured=33_554_432, expected=33_554_432)
    assert not claim("bytes", depends="nothing", measured=33_554_433, expected=33_554_432)


def test_not_a_number_never_holds():
    assert not claim("x", depends="nothing", measured=math.nan, at_least=0)
    assert not claim("x", depends="nothing", measured=math.nan, expected=math.nan)


def test_tensors_and_ratios_are_numbers(capsys):
    assert claim("tensor", depends="nothing", measured=torch.tensor(2.5), at_least=2)
    assert claim("ratio", depends="nothing", measured=Ratio(1.7, 1.6, 1.8), at_least=1.5, unit="x")
    assert "1.7x [1.6, 1.8]" in capsys.readouterr().out


def test_a_cross_never_stops_a_student_and_says_what_it_means(capsys):
    assert not claim(
        "fast", depends="nothing", measured=1.0, at_least=2.0, if_not="Another program was running."
    )
    shown = capsys.readouterr().out
    assert "✗ fast" in shown
    assert "Another program was running." in shown


def test_a_cross_fails_a_strict_run_with_its_number(monkeypatch):
    monkeypatch.setenv("EFFDL_STRICT", "1")
    assert claim("fast", depends="nothing", measured=3.0, at_least=2.0)
    with pytest.raises(ClaimFailed, match="fast: measured 1x, at least 2x"):
        claim("fast", depends="nothing", measured=1.0, at_least=2.0, unit="x")


def test_a_claim_says_what_it_depends_on():
    with pytest.raises(ValueError, match="depends on 'nothing' or on the 'machine', not on 'luck': x"):
        claim("x", depends="luck", measured=1, at_least=0)


def record(week, kind, value):
    week.start("lecture", kind)
    claim("fast", depends="machine", measured=value, at_least=2.0)


def test_a_strict_run_fails_for_the_machine_only_where_its_kind_is_known_to_do_better(week, monkeypatch):
    record(week, "amd", 3.0)
    record(week, "arm", 1.0)
    monkeypatch.setenv("EFFDL_STRICT", "1")
    week.again("lecture", "amd")
    with pytest.raises(ClaimMissedHere, match=r"fast: measured 1\.5, at least 2"):
        claim("fast", depends="machine", measured=1.5, at_least=2.0)
    for kind, known in (("arm", claims.MISSED), ("riscv", claims.UNKNOWN)):
        week.again("lecture", kind)
        assert not claim("fast", depends="machine", measured=1.5, at_least=2.0)
        assert claims.made[-1].before == known
    # What depends on nothing fails on a machine that nobody has seen.
    with pytest.raises(ClaimFailed):
        claim("bytes", depends="nothing", measured=1, expected=2)


@pytest.mark.parametrize(
    ("recorded", "bound", "known"),
    [
        (2.1, {"at_least": 2.0}, claims.NARROW),
        (2.3, {"at_least": 2.0}, claims.HELD),
        (0.95, {"at_most": 1.0}, claims.NARROW),
        (0.85, {"at_most": 1.0}, claims.HELD),
        (1.19, {"expected": 1, "rel": 0.2}, claims.NARROW),
        (1.1, {"expected": 1, "rel": 0.2}, claims.HELD),
        (7, {"expected": 7}, claims.HELD),
    ],
)
def test_what_was_recorded_near_its_bound_is_no_gate(week, recorded, bound, known, monkeypatch):
    week.start("lecture", "amd")
    claim("near", depends="machine", measured=recorded, **bound)
    monkeypatch.setenv("EFFDL_STRICT", "1")
    week.again("lecture", "amd")
    with pytest.raises(ClaimMissedHere) if known == claims.HELD else contextlib.nullcontext():
        assert not claim("near", depends="machine", measured=1e6 if "at_most" in bound else -1e6, **bound)
    assert claims.made[-1].before == known


@pytest.mark.parametrize(
    ("missed", "bound", "known"),
    [
        (1.85, {"at_least": 2.0}, claims.NARROW),
        (1.75, {"at_least": 2.0}, claims.HELD),
        (1.05, {"at_most": 1.0}, claims.NARROW),
        (1.15, {"at_most": 1.0}, claims.HELD),
        (0.79, {"expected": 1, "rel": 0.2}, claims.NARROW),
        (0.77, {"expected": 1, "rel": 0.2}, claims.HELD),
        (7.1, {"expected": 7}, claims.HELD),
    ],
)
def test_a_miss_by_less_than_a_tenth_is_no_failure_of_this_kind_of_machine(
    week, missed, bound, known, monkeypatch
):
    clear = {"at_least": 3.0, "at_most": 0.5, "expected": bound.get("expected")}
    week.start("lecture", "amd")
    claim("near", depends="machine", measured=clear[next(iter(bound))], **bound)
    monkeypatch.setenv("EFFDL_STRICT", "1")
    week.again("lecture", "amd")
    with pytest.raises(ClaimMissedHere) if known == claims.HELD else contextlib.nullcontext():
        assert not claim("near", depends="machine", measured=missed, **bound)
    assert claims.made[-1].before == known


def test_another_version_of_a_library_is_another_machine(week, monkeypatch):
    record(week, "amd", 3.0)
    monkeypatch.setenv("EFFDL_STRICT", "1")
    now = files.versions()
    for torch_version, strict in (("2.11.0", False), (f"{now['torch'].rsplit('.', 1)[0]}.99", True)):
        week.again("lecture", "amd")
        monkeypatch.setattr(files, "versions", lambda v=torch_version: now | {"torch": v})
        with pytest.raises(ClaimMissedHere) if strict else contextlib.nullcontext():
            assert not claim("fast", depends="machine", measured=1.5, at_least=2.0)


def test_on_a_busy_machine_only_what_depends_on_nothing_fails(week, monkeypatch):
    record(week, "amd", 3.0)
    monkeypatch.setenv("EFFDL_STRICT", "anywhere")
    week.again("lecture", "amd")
    assert not claim("fast", depends="machine", measured=1.5, at_least=2.0)
    with pytest.raises(ClaimFailed):
        claim("bytes", depends="nothing", measured=1, expected=2)


def test_another_word_for_strict_is_refused(monkeypatch):
    monkeypatch.setenv("EFFDL_STRICT", "yes")
    with pytest.raises(ValueError, match="EFFDL_STRICT='yes'"):
        claim("fast", depends="nothing", measured=1.0, at_least=2.0)


def test_a_cross_that_the_machine_decides_shows_what_other_kinds_measured(week, capsys):
    record(week, "amd", 3.0)
    record(week, "intel", 1.0)
    week.again("lecture", "arm")
    capsys.readouterr()
    claim("fast", depends="machine", measured=1.5, at_least=2.0)
    assert "This depends on the machine; recorded: 3 ✓ on amd, 1 ✗ on intel." in capsys.readouterr().out
    claim("new", depends="machine", measured=1.5, at_least=2.0)
    assert "nobody has recorded it yet" in capsys.readouterr().out


def test_misses_are_listed_by_what_they_mean(week, monkeypatch, tmp_path):
    record(week, "arm", 1.0)
    monkeypatch.setenv("EFFDL_MISSES", str(tmp_path / "misses"))
    week.again("lecture", "arm")
    claim("fast", depends="machine", measured=1.5, at_least=2.0)
    claim("new", depends="machine", measured=1, at_least=2)
    claim("newer", depends="machine", measured=1, at_least=2)
    claim("holds", depends="machine", measured=3, at_least=2)
    claim("bytes", depends="nothing", measured=3, expected=2)
    found = [claims.Claim(**json.loads(line)) for line in (tmp_path / "misses").read_text().splitlines()]
    assert [miss.text for miss in found] == ["fast", "new", "newer", "bytes"]
    assert claims.misses_in_words(found) == [
        "1 claim does not hold and should hold on any machine:",
        "  ✗ bytes: 3 (expected 2)",
        "2 claims do not hold on this machine, which nobody has recorded with these versions; `make record` adds it:",
        "  ✗ new: 1 (at least 2)",
        "  ✗ newer: 1 (at least 2)",
        "1 claim does not hold on this machine, as its recorded results say:",
        "  ✗ fast: 1.5 (at least 2)",
    ]
    assert claims.misses_in_words([]) == []


def test_a_claim_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="needs a bound"):
        claim("x", depends="nothing", measured=1)
    with pytest.raises(ValueError, match="expected="):
        claim("x", depends="nothing", measured=1, rel=0.1, at_least=0)


def test_two_claims_with_one_key_are_an_error_only_in_a_whole_run(week, monkeypatch):
    claim("x", depends="nothing", measured=1, at_least=0)
    with pytest.raises(ValueError, match=r"lecture\.md makes two claims with the key 'x'"):
        claim("x", depends="nothing", measured=2, at_least=0)
    monkeypatch.delenv("EFFDL_NOTEBOOK")
    claim("x", depends="nothing", measured=1, at_least=0)
    claim("x", depends="nothing", measured=1, at_least=0)


def test_a_recorded_value_can_be_defended(week):
    week.start("lecture", "cpu")
    claim(
        "Ring moves <2x",
        depends="nothing",
        measured=1.51234567,
        at_most=2,
        unit="x",
        source="Patarasuk & Yuan 2009",
    )
    data = results(week, "cpu")
    entry = data["notebooks"]["lecture"]["claims"]["ring-moves-2x"]
    assert entry["measured"] == 1.512
    assert entry["bound"] == "at most 2x"
    assert entry["holds"] is True
    assert data["notebooks"]["lecture"]["versions"]["torch"] == torch.__version__
    assert len(data["notebooks"]["lecture"]["date"]) == len("2026-01-31")
    assert data["machine"]["cores"] >= 1


def test_results_hold_no_host_name(week):
    week.start("lecture", "cpu")
    claim("x", depends="nothing", measured=1, at_least=0)
    host = socket.gethostname()
    assert len(host) < 4 or host not in (week.folder / "results" / "cpu.json").read_text()


def test_noise_below_four_digits_does_not_change_the_file(week):
    texts = []
    for noise in (0.0, 1e-9):
        week.start("lecture", "cpu")
        claim("b", depends="nothing", measured=1.5 + noise, at_least=0)
        claim("a", depends="nothing", measured=2.5 + noise, at_least=0)
        texts.append((week.folder / "results" / "cpu.json").read_text())
    assert texts[0] == texts[1]
    assert list(json.loads(texts[0])) == sorted(json.loads(texts[0]))


def test_a_new_run_drops_the_claims_of_its_last_and_keeps_other_notebooks(week):
    week.start("lecture", "cpu")
    claim("old", depends="nothing", measured=1, at_least=0)
    week.start("seminar", "cpu")
    claim("other", depends="nothing", measured=1, at_least=0)
    week.start("lecture", "cpu")
    claim("new", depends="nothing", measured=1, at_least=0)
    claim("newer", depends="nothing", measured=1, at_least=0)
    pages = results(week, "cpu")["notebooks"]
    assert set(pages["lecture"]["claims"]) == {"new", "newer"}
    assert set(pages["seminar"]["claims"]) == {"other"}


def test_results_of_another_machine_are_not_overwritten(week):
    record(week, "amd", 3.0)
    record(week, "intel", 1.0)
    assert results(week, "amd")["notebooks"]["lecture"]["claims"]["fast"]["measured"] == 3
    assert results(week, "intel")["notebooks"]["lecture"]["claims"]["fast"]["measured"] == 1


def test_infinity_is_recorded_as_valid_json(week):
    week.start("lecture", "cpu")
    claim("x", depends="nothing", measured=math.inf, at_most=2)
    text = (week.folder / "results" / "cpu.json").read_text()
    assert "Infinity" not in text
    assert "nan ✗" in claims_table.table(week.folder)


def test_recording_needs_a_whole_notebook_and_a_word_of_this_machine_guards_it(week, monkeypatch):
    week.start("lecture", "intel-xeon-6-85")
    monkeypatch.setenv("EFFDL_RECORD", "h200")
    with pytest.raises(ValueError, match="'h200', but this machine is of the kind intel-xeon-6-85"):
        claim("x", depends="nothing", measured=1, at_least=0)
    week.again("lecture", "intel-xeon-6-85")
    monkeypatch.setenv("EFFDL_RECORD", "Xeon")
    claim("x", depends="nothing", measured=1, at_least=0)
    assert results(week, "intel-xeon-6-85")
    monkeypatch.delenv("EFFDL_NOTEBOOK")
    with pytest.raises(ValueError, match=r"effdl\.run"):
        claim("x", depends="nothing", measured=1, at_least=0)


def test_a_broken_results_file_is_named(week, capsys):
    (week.folder / "results").mkdir()
    (week.folder / "results" / "cpu.json").write_text("{")
    not_here("x")  # a reader is told, and not stopped
    assert "cpu.json is not JSON" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"cpu\.json is not JSON"):
        claims_table.table(week.folder)
    (week.folder / "results" / "cpu.json").write_text('{"machine": {"device": "a chip"}, "notebooks": {}}')
    with pytest.raises(ValueError, match="does not say which kind of machine"):
        claims_table.table(week.folder)


def test_what_nobody_ran_is_said_and_what_was_recorded_is_shown(week, capsys):
    text = "cudnn.benchmark speeds up the forward pass"
    not_here(text, published="1.70x", source="NVIDIA")
    shown = capsys.readouterr().out
    assert "Published: 1.70x (NVIDIA)." in shown
    assert "Nobody has run this on a CUDA GPU yet." in shown

    week.start("lecture", "h200")
    claim(text, depends="nothing", measured=1.65, at_least=1.1, unit="x")
    week.start("lecture", "cpu")
    capsys.readouterr()
    not_here(text, published="1.70x")
    shown = capsys.readouterr().out
    assert "Recorded on h200" in shown
    assert "1.65x" in shown
    assert "Nobody" not in shown
    assert claims.recorded(named(text))["h200"]["measured"] == 1.65


def test_the_table_has_an_empty_cell_where_nobody_ran(week):
    week.start("lecture", "cpu")
    claim("Z comes first", depends="machine", measured=4, at_least=3, unit="x")
    not_here("On a GPU | only", published="1.70x", source="NVIDIA")
    week.start("lecture", "h200")
    claim("Z comes first", depends="machine", measured=2.5, at_least=3, unit="x")
    claim("On a GPU | only", depends="machine", measured=1.6, at_least=1.2, unit="x")
    lines = claims_table.table(week.folder).splitlines()
    assert lines[0] == "Claims by kind: lecture: 2 measured."
    assert lines[2] == "| claim | kind | depends on | published or bound | cpu | h200 |"
    assert lines[4] == "| Z comes first | measured | machine | at least 3x | 4x | 2.5x ✗ |"
    assert lines[5] == "| On a GPU \\| only | measured | machine | 1.70x (NVIDIA) |  | 1.6x |"


def test_a_claim_that_the_page_no_longer_makes_has_no_row(week):
    week.start("lecture", "cpu")
    claim("It stays", depends="nothing", measured=1, at_least=0)
    claim("It went", depends="nothing", measured=1, at_least=0)
    (week.folder / "lecture.md").write_text(ANY_CLAIM.replace('f"{name}"', '"it-stays"'))
    table = claims_table.table(week.folder)
    assert "It stays" in table
    assert "It went" not in table


def test_the_kinds_of_claims_are_counted_page_by_page(week):
    kinds = '```python\nclaim(a, key="a", kind="measured")\nclaim(b, key="b", kind="derived")\n```\n'
    (week.folder / "lecture.md").write_text(kinds)
    week.start("lecture", "cpu")
    claim("a", depends="nothing", measured=1, at_least=0)
    claim("b", kind="derived", depends="nothing", measured=1, at_least=0)
    week.start("seminar", "cpu")
    claim("c", depends="nothing", measured=1, at_least=0)
    table = claims_table.table(week.folder)
    assert table.startswith("Claims by kind: lecture: 1 measured, 1 derived; seminar: 1 measured.\n")


@pytest.mark.parametrize("key", ["Ring sends least", "", "a--b", "x" * 61])
def test_a_key_that_is_no_short_name_is_refused(key):
    with pytest.raises(ValueError, match="a claim's key is a short name"):
        claim("x", key=key, depends="nothing", measured=1, at_least=0)
    with pytest.raises(ValueError, match="a claim's key is a short name"):
        not_here("x", key=key)


def test_a_claim_says_what_kind_it_is_and_shows_it_beside_the_tick(capsys, monkeypatch):
    with pytest.raises(ValueError, match="a claim is measured, simulated or derived, not 'true'"):
        claim("x", kind="true", depends="nothing", measured=1, at_least=0)
    claim("It halves", kind="simulated", depends="nothing", measured=2, expected=2, unit="x")
    assert "simulated 2x; expected 2x" in capsys.readouterr().out
    pages = []
    monkeypatch.setattr(claims, "publish", lambda text, html: pages.append(html))
    claim("It halves", kind="simulated", depends="nothing", measured=2, expected=2, unit="x")
    assert "✓ Claim holds (simulated)." in pages[0]


def test_where_an_optimisation_loses_and_what_flatters_it_stand_below_the_claim(capsys):
    said = {"loses": "below 1 MiB", "trap": "the first call builds the plan"}
    claim("Fusing saves half the time", depends="machine", measured=2, at_least=1.5, unit="x", **said)
    assert "Loses: below 1 MiB\n    Trap: the first call builds the plan\n" in capsys.readouterr().out


def test_the_readme_keeps_all_but_the_table(week):
    readme = week.folder / "README.md"
    readme.write_text(f"before\n{claims_table.BEGIN}\nstale row\n{claims_table.END}\nafter\n")
    week.start("lecture", "cpu")
    claim("x", depends="nothing", measured=1, at_least=0)
    claims_table.write_table(week.folder)
    once = readme.read_text()
    claims_table.write_table(week.folder)
    assert readme.read_text() == once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "stale row" not in once
    assert "| x | measured | nothing | at least 0 | 1 | " in once


def test_a_readme_without_markers_is_refused(week):
    (week.folder / "README.md").write_text("nothing here")
    with pytest.raises(ValueError, match="claims:begin"):
        claims_table.write_table(week.folder)


def test_html_escapes_what_the_author_wrote_and_reads_without_styles(monkeypatch):
    pages = []
    monkeypatch.setattr(claims, "publish", lambda text, html: pages.append(html))
    claim("a < b & c", depends="nothing", measured=1, at_least=2, if_not="x < y")
    assert "a &lt; b &amp; c" in pages[0]
    assert "x &lt; y" in pages[0]
    assert "✗ Claim does not hold here (measured)." in pages[0]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (33_554_432, "bytes", "33,554,432 bytes"),
        (1.70449, "x", "1.704x"),
        (0.00001234, "s", "1.234e-05 s"),
        (123456.7, "", "123,457"),
        (True, "", "yes"),
        (math.inf, "", "inf"),
    ],
)
def test_numbers_read_well(value, unit, text):
    assert claims.number(value, unit) == text
