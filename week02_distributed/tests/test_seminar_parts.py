"""Parts of the two notebooks that have no other tests: collisions, first workers, locks, the peer's files."""

import multiprocessing
import socket

import numpy as np
import pytest

from effdl.bench import Comparison
from week02_distributed import (
    collisions,
    cooccurrence,
    first_steps,
    glove,
    hogwild,
    interpreter_lock,
    peer,
    torch_glove,
    word_groups,
)
from week02_distributed.processes import CONTEXT, ByValue, WorkerFailed, in_one_line, run_tasks


def test_update_without_repeated_indices_is_the_same_right_or_wrong():
    rows = np.random.default_rng(0).normal(size=(3, 4))
    found = []
    for update in (glove.adagrad, collisions.lossy_adagrad):
        table, squares = np.ones((5, 4)), np.ones((5, 4))
        update(table, squares, np.array([4, 0, 2]), rows, 0.1)
        found.append((table, squares))
    np.testing.assert_allclose(found[0], found[1])


def test_update_with_repeated_indices_is_not():
    table, squares = np.zeros((2, 1)), np.ones((2, 1))
    collisions.lossy_adagrad(table, squares, np.array([0, 0]), np.ones((2, 1)), 1.0)
    right, right_squares = np.zeros((2, 1)), np.ones((2, 1))
    glove.adagrad(right, right_squares, np.array([0, 0]), np.ones((2, 1)), 1.0)
    assert table[0, 0] == pytest.approx(-1 / np.sqrt(2))
    assert right[0, 0] == pytest.approx(-2 / np.sqrt(5))
    assert collisions.share_lost(np.array([0, 0, 1, 0])) == 0.5


def test_two_that_push_first_deadlock_on_large_messages_only(capsys):
    greedy, polite = first_steps.push_then_read, first_steps.read_then_push
    with socket.socketpair()[0] as end:  # what a Pipe is made of; some machines keep megabytes on the way
        large = max(2**23, 4 * end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
    assert first_steps.exchange(polite, large, deadline=600) == [large, large]
    assert first_steps.exchange(greedy, 1000, deadline=600) == [1000, 1000]
    assert capsys.readouterr().out == ""
    assert first_steps.exchange(greedy, large) is None
    assert "did not return within 2 s" in capsys.readouterr().out
    assert not multiprocessing.active_children()


def test_a_reader_gets_all_messages_and_stops_when_the_writer_has_closed():
    inbox, outbox = CONTEXT.Pipe(duplex=False)
    first_steps.send_squares(outbox, [1, 2, 3])
    assert first_steps.receive_all(inbox) == [1, 4, 9]


def test_first_workers_compute_squares():
    assert run_tasks(first_steps.square, [(3,), (4,)]) == [9, 16]


def test_gain_compares_the_best_samples():
    times = Comparison({"in a row": [4.0, 9.0], "threads": [8.0, 2.0]})
    assert interpreter_lock.gains(times) == {"in a row": 1, "threads": 2}


def test_two_processes_do_the_work_and_end():
    with interpreter_lock.TwoProcesses() as two:
        two.run("Python loop")
    assert not multiprocessing.active_children()


def test_files_of_the_peer_hold_the_pairs_counted_from_one(tmp_path):
    pairs = np.array([0, 2], np.int32), np.array([1, 0], np.int32), np.array([0.5, 3.0], np.float32)
    peer.write_pairs(tmp_path / "pairs.bin", pairs)
    records = np.fromfile(tmp_path / "pairs.bin", peer.RECORD)
    assert sorted(records.tolist()) == [(1, 2, 0.5), (3, 1, 3.0)]
    np.arange(2 * 3 * 5, dtype=float).tofile(tmp_path / "vectors.bin")
    tables = peer.read_tables(tmp_path / "vectors.bin", words=3, dim=4)
    assert tables["focus"][2, 4] == 14
    assert tables["context"][0, 0] == 15


def test_a_peer_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("EFFDL_GLOVE", raising=False)
    assert peer.program() is None
    monkeypatch.setenv("EFFDL_GLOVE", str(tmp_path / "glove"))
    with pytest.raises(FileNotFoundError, match="build the reference program or unset it"):
        peer.program()


def test_an_unknown_corpus_is_refused():
    with pytest.raises(ValueError, match='use "docstrings" or "wikitext"'):
        cooccurrence.corpus("novels", 1)


def test_rows_saved_is_the_share_of_repeated_words():
    pairs = np.repeat(np.arange(2), 500), None, None
    assert collisions.rows_saved(pairs, batch=100) == 50


def test_sums_are_raced_on_real_batches():
    pairs = np.arange(20), np.arange(20), np.ones(20)
    assert set(collisions.race_of_sums(pairs, 20, 4, 64).timings) == {"np.add.at", "sum_rows"}


def test_expected_neighbours_are_counted_once_per_word_and_missing_words_not_at_all():
    words = {word: number for number, word in enumerate(["red", "blue", "green", "row", "sky", "sea"])}
    unit = np.eye(6)
    unit[1] = unit[2] = unit[0]
    assert word_groups.expected_found(unit, words, count=2) == 1


def test_the_map_keeps_groups_apart_and_leaves_unknown_words_out():
    words = {word: n for n, word in enumerate(["red", "blue", "green", "file", "path", "disk"])}
    unit = np.repeat(np.eye(2), 3, axis=0)
    places = word_groups.plane(unit, words)
    assert list(places["colours"]) == ["red", "blue", "green"]
    assert places["matrices"] == {}
    np.testing.assert_allclose(places["files"]["file"], places["files"]["disk"])
    assert np.linalg.norm(places["colours"]["red"] - places["files"]["file"]) == pytest.approx(2**0.5)


def test_a_function_of_a_notebook_runs_in_another_process():
    factor = 3
    assert run_tasks(ByValue(lambda x: factor * x), [(2,), (5,)]) == [6, 15]


def test_a_stub_in_a_worker_is_a_stub_here_and_other_failures_are_one_line():
    def stub():
        raise NotImplementedError

    with pytest.raises(NotImplementedError), in_one_line():
        run_tasks(ByValue(stub), [()])
    with pytest.raises(WorkerFailed, match=r"^ZeroDivisionError: division by zero$"), in_one_line():
        run_tasks(ByValue(lambda: 1 / 0), [()])


class Overwritten(np.ndarray):
    """An array to which, right after each write, another process writes back what was there before."""

    def __setitem__(self, rows, values):
        before = np.array(self[rows])
        super().__setitem__(rows, values)
        super().__setitem__(rows, before)


def test_a_step_is_never_longer_than_the_rate_when_another_worker_overwrites_the_sums_of_squares():
    table, squares = np.zeros((3, 2)), np.ones((3, 2)).view(Overwritten)
    glove.adagrad(table, squares, np.array([0, 1, 1]), np.full((3, 2), 100.0), rate=0.3)
    assert np.all(squares == 1)
    steps = np.abs(table[:2])
    assert steps.min() > 0.29
    assert steps.max() <= 0.3


def test_sparse_adagrad_of_pytorch_adds_repeated_indices_up_as_ours_does():
    rng = np.random.default_rng(0)
    table, rows = (rng.normal(size=(n, 3)).astype(np.float32) for n in (5, 4))
    indices = np.array([4, 1, 4, 4])
    found = torch_glove.adagrad_step(table, indices, rows, 0.1)
    glove.adagrad(table, np.ones_like(table), indices, rows, 0.1)
    np.testing.assert_allclose(found, table, atol=1e-6)


def test_pytorchs_hogwild_trains_the_shared_tables():
    pairs = hogwild.small_pairs()
    tables, seconds = torch_glove.train(pairs, 60, 8, workers=2, batch=200, rate=0.3)
    before = glove.full_loss(glove.new_tables(60, 8, seed=0), pairs)
    assert glove.full_loss(tables, pairs) < 0.1 * before
    assert seconds > 0
