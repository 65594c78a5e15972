"""Calls the student's functions inside the worker and hands back what they gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs; where
a number counted here decides, the check says so.
"""

import contextlib
import mmap
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Mapping
from multiprocessing import resource_tracker
from time import monotonic, sleep  # before a student's module may replace them

import numpy as np
import torch
import torch.distributed as dist

PATIENCE = 6  # seconds that a worker waits for another one, which takes milliseconds; it only ends what hangs
TAG = 77  # of what workers tell each other past the server
_TOLD = []
PLACES = 4096
SLOTS = 64  # processes that may be workers, one after the other

# SharedMemory would start this process, which stays, during the call; processes that stay are counted.
resource_tracker.ensure_running()


def shared_numbers(count):
    """Return zeros, int64, that every process forked from this one shares with it."""
    return np.frombuffer(mmap.mmap(-1, 8 * count), dtype=np.int64)


class Meeting:
    """Where processes wait until so many of them are there at once; tells how many there were, and who."""

    def __init__(self, size):
        self.size, self.home = size, os.getpid()
        self.seats, self.most, self.over = shared_numbers(PLACES), shared_numbers(1), shared_numbers(1)

    def attend(self, seats=None):
        """Take a seat, and wait for the others until it is clear that they do not come; then nobody waits again."""
        seats = self.seats if seats is None else seats
        seats[os.getpid() % PLACES] = 1
        end = monotonic() + PATIENCE
        while not self.over[0] and (there := int(seats.sum())) < self.size:
            self.most[0] = max(self.most[0], there)
            self.over[0] |= monotonic() > end
            sleep(0.002)
        self.most[0] = max(self.most[0], int(seats.sum()) if not self.over[0] else 0)

    def seen(self, seats=None):
        """Return how many processes were there at once, and whether the calling process was one of them."""
        seats = self.seats if seats is None else seats
        return {"processes": int(self.most[0]), "here": bool(seats[self.home % PLACES])}


def outcome(function, *arguments, **options):
    """Call the function and return how it ended: the type and the text of what it raised, or None twice."""
    try:
        function(*arguments, **options)
    except NotImplementedError:
        raise
    except Exception as error:
        return {"raised": type(error).__name__, "message": _text(error)}
    return {"raised": None, "message": None}


def _text(error):
    """Return the messages of an exception and of those that it came from."""
    texts = []
    while error is not None and len(texts) < 10:
        texts.append(str(error)[-4000:])
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def break_down(how, message):
    """Fail as a worker may: raise, or be killed by the system."""
    if how == "raises":
        raise ValueError(message)
    os.kill(os.getpid(), signal.SIGKILL)


# --- counting -----------------------------------------------------------------------------------------------

_WORDS = re.compile(r"[a-z]+")


def words_of(text):
    """Return the lower-case words of a text."""
    return _WORDS.findall(text.lower())


def count(texts, workers):
    """Call `count_tokens`."""
    from token_counts import count_tokens

    return _plain(count_tokens(texts, words_of, workers))


def count_together(texts, workers):
    """Call `count_tokens` with a tokenizer that waits until all workers are at work; count its calls."""
    from token_counts import count_tokens

    meeting, calls = Meeting(min(workers, len(texts))), shared_numbers(len(texts))

    def tokenize(text):
        meeting.attend()
        number = int(text.partition(" ")[0])
        calls[number] += 1
        return words_of(text)

    counts = _plain(count_tokens(texts, tokenize, workers))
    return {"counts": counts, "calls": torch.tensor(calls), **meeting.seen()}


def count_and_fail(texts, workers, poison, how, message):
    """Call `count_tokens` with a tokenizer that breaks down at the text `poison`."""
    from token_counts import count_tokens

    def tokenize(text):
        if text == poison:
            break_down(how, message)
        return words_of(text)

    return outcome(count_tokens, texts, tokenize, workers)


def _plain(counts):
    counts = as_what("count_tokens", counts, Mapping, "a Counter")
    return {token: int(number) for token, number in counts.items()}


def as_what(function, value, kind, name):
    """Return what the student's function returned; raises TypeError, with a sentence, where it is something else."""
    if isinstance(value, kind):
        return value
    found = "None" if value is None else f"a value of type {type(value).__name__}"
    raise TypeError(f"{function} returned {found}, not {name}")


# --- cooccurrence -------------------------------------------------------------------------------------------


def pairs(shards, words, window, workers):
    """Call `cooccurrence` on lists of documents."""
    from cooccurrence import cooccurrence

    return _tensors(cooccurrence(_loader(shards), len(shards), words, window, workers))


def pairs_together(shards, words, window, workers):
    """Call `cooccurrence` with a loader that waits until all workers are at work; count its calls."""
    from cooccurrence import cooccurrence

    meeting, calls, load = Meeting(workers), shared_numbers(len(shards)), _loader(shards)

    def meet_and_load(shard):
        meeting.attend()
        calls[shard] += 1
        return load(shard)

    found = _tensors(cooccurrence(meet_and_load, len(shards), words, window, workers))
    return {"pairs": found, "calls": torch.tensor(calls), **meeting.seen()}


def pairs_and_fail(shards, words, window, workers, poison, message):
    """Call `cooccurrence` with a loader that cannot read the shard `poison`."""
    from cooccurrence import cooccurrence

    load = _loader(shards)

    def broken(shard):
        if shard == poison:
            raise OSError(message)
        return load(shard)

    return outcome(cooccurrence, broken, len(shards), words, window, workers)


def _loader(shards):
    arrays = [[document.numpy() for document in documents] for documents in shards]
    return lambda shard: arrays[shard]


def _tensors(arrays, function="cooccurrence", name="three arrays"):
    return [_tensor(array) for array in as_what(function, arrays, (tuple, list), name)]


def _tensor(array):
    """Return a copy of an array, whatever its memory is like: negative strides, columns first, other bytes first."""
    array = np.array(array, order="C")
    return torch.tensor(array.astype(array.dtype.newbyteorder("=")))


# --- gradients ----------------------------------------------------------------------------------------------


def glove_loss(model, first, second, counts):
    """Call `loss`."""
    from glove import loss

    found = loss(_arrays(model), first.numpy(), second.numpy(), counts.numpy())
    return float(as_what("loss", found, (float, int, np.number, np.ndarray, torch.Tensor), "a number"))


def glove_gradients(model, first, second, counts):
    """Call `gradients`; return them with the model as it is afterwards."""
    from glove import gradients

    arrays = _arrays(model)
    found = gradients(arrays, first.numpy(), second.numpy(), counts.numpy())
    found = as_what("gradients", found, Mapping, "a dictionary")
    if missing := [name for name in arrays if name not in found]:
        raise KeyError(f"gradients returned no {', '.join(missing)}")
    rows = {name: _tensors(found[name], "gradients", f"ids and rows of {name}") for name in arrays}
    return {"gradients": rows, "model": _after(arrays)}


def glove_descend(model, gradients, rate):
    """Call `descend`; return the model."""
    from glove import descend

    arrays = _arrays(model)
    pairs = {name: tuple(part.numpy() for part in gradients[name]) for name in arrays}
    descend(arrays, pairs, rate)
    return _after(arrays)


def glove_steps(words, dim, batch, seed, steps):
    """Make some steps on a model of `words` words; return the gradients' sizes and the norm of the model."""
    from glove import descend, gradients

    rng = np.random.default_rng(seed)
    model = {name: np.full((words, dim), 0.1, dtype=np.float32) for name in ("focus", "context")}
    model |= {f"{name}_bias": np.zeros(words, dtype=np.float32) for name in ("focus", "context")}
    sizes = []
    for _ in range(steps):
        first, second = rng.integers(words, size=(2, batch))
        found = gradients(model, first, second, rng.uniform(1, 50, batch).astype(np.float32))
        sizes += [len(rows) for rows, _ in found.values()]
        descend(model, found, 0.1)
    return {"sizes": sizes, "norms": [float(np.vdot(table, table)) for table in model.values()]}


def _arrays(model):
    return {name: table.numpy() for name, table in model.items()}


def _after(arrays):
    return {name: _tensor(table) for name, table in arrays.items()}


# --- hogwild ------------------------------------------------------------------------------------------------


def hogwild_visits(count, workers, epochs, batch, seed, meet=True):
    """Train where a step counts visits to its entries and notes their order, after all workers have met.

    They meet in one of the shared tables: workers with tables of their own never see each other there. Without
    `meet` nobody waits for the others.
    """
    from hogwild import train

    tables = {"visits": np.zeros((SLOTS, count, 2), dtype=np.int64), "seats": np.zeros(PLACES)}
    logs, filled, largest = shared_numbers(SLOTS * count * epochs), shared_numbers(SLOTS), shared_numbers(1)
    meeting, newcomers = Meeting(workers), multiprocessing.get_context("fork").Value("i", 0)
    mine = {}  # every process has its own

    def step(shared, ids, twice):
        if os.getpid() not in mine:
            with newcomers.get_lock():
                mine[os.getpid()] = newcomers.value
                newcomers.value += 1
            if meet:
                meeting.attend(shared["seats"])
        slot = mine[os.getpid()]
        start = slot * count * epochs + filled[slot]
        logs[start : start + len(ids)] = ids
        filled[slot] += len(ids)
        largest[0] = max(largest[0], len(ids))
        # Each process has a place of its own, so that nothing is lost without a lock: where no worker waits for the
        # others at the end of an epoch, two may be at the same entry.
        shared["visits"][slot, ids, 0] += 1
        shared["visits"][slot, ids, 1] += twice - 2 * ids + 1

    ids = np.arange(count)
    after = train(tables, (ids, 2 * ids), step, workers=workers, epochs=epochs, batch=batch, seed=seed)
    after = as_what("train", after, Mapping, "a dictionary of tables")
    orders = [
        torch.tensor(logs[slot * count * epochs :][: filled[slot]]) for slot in range(SLOTS) if filled[slot]
    ]
    return {
        "visits": torch.tensor(after["visits"]).sum(0),
        "before": torch.tensor(tables["visits"]).abs().sum(0),
        **meeting.seen(after["seats"]),
        "largest": int(largest[0]),
        "orders": orders,
    }


def hogwild_and_fail(count, workers, which, how, message):
    """Train where one worker breaks down while all others are in the middle of a long step.

    It is the one that was started first, or last: whoever waits for one worker after the other misses one of them.
    """
    from hogwild import train

    inside = shared_numbers(PLACES)

    def step(shared, ids):
        mine = inside[os.getpid() % PLACES] = os.getpid()
        end = monotonic() + PATIENCE
        while (inside > 0).sum() < workers and monotonic() < end:
            sleep(0.002)
        there = inside[inside > 0]
        if mine == (there.min() if which == "first" else there.max()):
            break_down(how, message)
        sleep(300)

    columns = (np.arange(count),)
    return outcome(
        train,
        {"table": np.zeros(3)},
        columns,
        step,
        workers=workers,
        epochs=1,
        batch=count // workers,
        seed=0,
    )


def hogwild_progress(count, workers, epochs, batch):
    """Train where a worker waits, in the middle of its work, until progress has been reported."""
    from hogwild import train

    reports, reported, begun, silent = [], shared_numbers(1), shared_numbers(PLACES), shared_numbers(1)
    steps = [0]  # every process has its own

    def progress(done):
        reports.append([int(done), int(begun.sum()), os.getpid() == home])
        reported[0] = max(reported[0], int(done))

    def step(shared, ids):
        begun[os.getpid() % PLACES] += len(ids)
        sleep(0.01)
        steps[0] += 1
        end = monotonic() + PATIENCE
        while steps[0] > 3 and not reported[0] and not silent[0]:
            silent[0] |= monotonic() > end
            sleep(0.01)

    home = os.getpid()
    options = {"workers": workers, "epochs": epochs, "batch": batch, "seed": 1, "progress": progress}
    train({"table": np.zeros(3)}, (np.arange(count),), step, **options)
    return {"reports": reports, "silent": bool(silent[0])}


def hogwild_naps(workers, steps, seconds):
    """Train where a step does nothing for some seconds, `steps` steps for each worker; return how many were made."""
    from hogwild import train

    made = shared_numbers(PLACES)

    def step(shared, ids):
        made[os.getpid() % PLACES] += 1
        sleep(seconds)

    train(
        {"table": np.zeros(3)},
        (np.arange(workers * steps),),
        step,
        workers=workers,
        epochs=1,
        batch=1,
        seed=2,
    )
    return int(made.sum())


def hogwild_adds(tables, columns, workers, epochs, batch):
    """Train where a step adds the rows of the second column to the entries that the first one names."""
    from hogwild import train

    def step(shared, ids, values):
        for table in shared.values():
            table[ids] += values.reshape(-1, *[1] * (table.ndim - 1)).astype(table.dtype)

    arrays = _arrays(tables)
    after = train(
        arrays,
        tuple(column.numpy() for column in columns),
        step,
        workers=workers,
        epochs=epochs,
        batch=batch,
        seed=3,
    )
    after = as_what("train", after, Mapping, "a dictionary of tables")
    return {"after": _after(after), "before": _after(arrays)}


# --- server and staleness -----------------------------------------------------------------------------------


def serve_and_work(plan, rank, size, width, dtype, bound=None, may_fail=False):
    """Serve on rank 0 the table in `plan`; on the others do what `plan` lists, and return what was pulled.

    A plan is a list of ["pull", rows], ["push", rows, change], ["nap", seconds], ["until", row, value], which
    pulls until that row begins with at least that value, ["fail", message], ["repeat", times, plan], and, past
    the server, ["tell", rank] how long the plan took so far, ["hear", rank] that, and ["outlast", ranks, seconds]:
    hear all of these ranks, then do nothing for ten times as long as the slowest told, `seconds` at least.
    """
    import parameter_server as theirs

    if rank == 0:
        if may_fail:
            return {**outcome(theirs.serve, plan, size - 1, bound), "table": plan}
        theirs.serve(plan, size - 1, bound)
        return {"table": plan}
    pulled = []
    with contextlib.suppress(Planned), theirs.Client(width, getattr(torch, dtype)) as server:
        try:
            _follow(plan, server, pulled, monotonic())
        except TimeoutError as error:
            pulled.append(str(error))
    return pulled


class Planned(Exception):
    """Raised where a plan says so."""


def _follow(plan, server, pulled, begin):
    for kind, *details in plan:
        if kind == "pull":
            pulled.append(server.pull(details[0]))
        elif kind == "push":
            server.push(*details)
        elif kind == "nap":
            sleep(details[0])
        elif kind == "fail":
            raise Planned(details[0])
        elif kind == "repeat":
            for _ in range(details[0]):
                _follow(details[1], server, pulled, begin)
        elif kind == "tell":
            note = torch.tensor([monotonic() - begin])
            _TOLD.append((note, dist.isend(note, details[0], tag=TAG)))  # who gave up hearing stops nobody
        elif kind == "hear":
            _hear(details[0])
        elif kind == "outlast":
            ranks, least = details
            sleep(min(5.0, max(least, 10 * max([_hear(rank) for rank in ranks]))))
        else:
            _pull_until(server, *details)


def _hear(rank):
    told = torch.zeros(1)
    listener = threading.Thread(target=dist.recv, args=(told, rank), kwargs={"tag": TAG}, daemon=True)
    listener.start()
    listener.join(PATIENCE)
    if listener.is_alive():
        raise TimeoutError(f"rank {rank} does not get on while another worker is silent")
    return told.item()


def _pull_until(server, row, value):
    end = monotonic() + PATIENCE
    while (found := server.pull(torch.tensor([row]))[0, 0].item()) < value:
        if monotonic() > end:
            raise TimeoutError(f"a worker's pushes stop at {found:g}, where {value:g} are to be seen")
        sleep(0.005)
