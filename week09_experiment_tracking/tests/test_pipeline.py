"""Store and pipeline: content under its hash, chunks that join again, stages that run only when they must."""

import subprocess
from graphlib import CycleError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week09_experiment_tracking import children, facts, small_project, store
from week09_experiment_tracking.pipeline import Pipeline, Stage


@given(st.binary(max_size=20_000))
def test_chunks_join_to_the_file_whatever_it_holds(content):
    for cut in (store.whole, store.fixed, lambda c: store.by_content(c, 256, 32)):
        assert b"".join(cut(content)) == content


def test_chunks_behind_an_insertion_stay_the_same():
    content = store.versions(1, lines=5000)[0]
    before, after = (
        store.by_content(content, 1024, 128),
        store.by_content(b"one line more\n" + content, 1024, 128),
    )
    assert len(set(before) - set(after)) <= 2


def test_a_store_notices_content_that_was_changed(tmp_path):
    kept = store.Store(tmp_path)
    name = kept.put(b"one")
    assert kept.get(name) == b"one"
    (tmp_path / name[:2] / name[2:]).write_bytes(b"two")
    with pytest.raises(ValueError, match="changed"):
        kept.get(name)
    with pytest.raises(KeyError):
        kept.get(store.digest(b"three"))


def test_collecting_garbage_frees_what_no_root_names_and_nothing_else(tmp_path):
    kept = store.Store(tmp_path)
    one, two = kept.put(b"one"), kept.put(b"four")
    assert kept.collect([one]) == 4
    assert kept.names() == {one}
    with pytest.raises(KeyError):
        kept.get(two)


@pytest.mark.parametrize("runner", ["ours", pytest.param("dvc", marks=pytest.mark.drawn(4))])
def test_after_each_edit_the_stages_that_must_run_do_and_no_others(tmp_path, runner):
    if runner == "dvc":
        pytest.importorskip("dvc")
    ran = children.call("small_project", "after_edits", root=str(tmp_path / runner), runner=runner)
    assert {edit: frozenset(ran[edit]) for edit in small_project.EDITS} == {
        edit: needed for edit, (_, needed) in small_project.EDITS.items()
    }
    assert all(len(names) == len(set(names)) for names in ran.values())


def test_dvc_pulls_what_it_pushed(tmp_path):
    pytest.importorskip("dvc")
    found = children.call("small_project", "through_a_remote", root=str(tmp_path / "remote"))
    assert found == {"files": 6, "pushed": 6, "equal after the pull": 6}


def test_an_undeclared_variable_is_not_seen_and_a_watched_one_is(tmp_path):
    ran = children.call("small_project", "hidden", root=str(tmp_path / "hidden"))
    assert list(ran.values()) == [[], ["report"], ["train"], ["train", "evaluate"]]


def test_a_command_that_fails_leaves_the_stages_before_it_locked(tmp_path):
    (tmp_path / "params.yaml").write_text("{}")
    good, bad = Stage("good", "echo 1 > a", makes=("a",)), Stage("bad", "false", reads=("a",), makes=("b",))
    with pytest.raises(subprocess.CalledProcessError):
        Pipeline(tmp_path, [bad, good]).run()
    mended = Stage("bad", "cat a > b", reads=("a",), makes=("b",))
    assert Pipeline(tmp_path, [mended, good]).run() == ["bad"]


def test_circles_and_two_makers_of_one_file_are_refused(tmp_path):
    circle = [Stage("a", "true", reads=("y",), makes=("x",)), Stage("b", "true", reads=("x",), makes=("y",))]
    with pytest.raises(CycleError):
        Pipeline(tmp_path, circle).order()
    with pytest.raises(ValueError, match="made by"):
        Pipeline(tmp_path, [Stage("a", "true", makes=("x",)), Stage("b", "true", makes=("x",))]).order()


def test_only_a_patch_with_new_files_gives_back_every_state_of_a_folder(tmp_path):
    found = facts.repeated(tmp_path)
    assert all(row["and new files"] for row in found.values())
    assert sum(row["the commit"] for row in found.values()) == 1
    assert not found["a new module"]["and git diff"]


def test_recording_code_leaves_the_index_alone(tmp_path):
    (tmp_path / "a.py").write_text("1\n")
    facts.git(tmp_path, "init", "--quiet")
    facts.git(tmp_path, "add", ".")
    facts.git(tmp_path, "commit", "--quiet", "--message", "a")
    (tmp_path / "b.py").write_text("2\n")
    before = facts.git(tmp_path, "status", "--porcelain")
    assert "b.py" in facts.facts(tmp_path, {"lr": 1}, [tmp_path / "a.py"], 0)["code"]["diff"]
    assert facts.git(tmp_path, "status", "--porcelain") == before == b"?? b.py\n"
