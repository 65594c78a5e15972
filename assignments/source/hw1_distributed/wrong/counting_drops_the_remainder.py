# replaces: token_counts.py
# caught by: counts_of_awkward_texts
# mistake: cuts the texts into equal pieces and forgets the rest
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any


def count_tokens(
    texts: Sequence[str], tokenize: Callable[[str], Iterable[str]], workers: int
) -> Counter[str]:
    size = len(texts) // workers
    tasks = [(texts[worker * size : (worker + 1) * size], tokenize) for worker in range(workers)]
    return sum(in_processes(_count, tasks), Counter())


def in_processes(
    function: Callable, tasks: Sequence[tuple], watch: Callable[[], None] = lambda: None
) -> list[Any]:
    context = multiprocessing.get_context("fork")
    processes, inboxes, results = ([], {}, {})
    try:
        for number, task in enumerate(tasks):
            inbox, outbox = context.Pipe(duplex=False)
            processes.append(context.Process(target=_answer, args=(outbox, function, task)))
            processes[-1].start()
            outbox.close()
            inboxes[inbox] = number
        while inboxes:
            for inbox in wait(list(inboxes), timeout=0.1):
                number = inboxes.pop(inbox)
                results[number] = _result(inbox, number)
            watch()
        return [results[number] for number in range(len(tasks))]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def _result(inbox: Connection, number: int) -> Any:
    try:
        value, error = inbox.recv()
    except EOFError:
        raise RuntimeError(f"worker {number} died") from None
    if error is not None:
        raise RuntimeError(f"worker {number} failed\n{error}")
    return value


def _answer(outbox: Connection, function: Callable, task: tuple) -> None:
    try:
        outbox.send((function(*task), None))
    except BaseException:
        outbox.send((None, traceback.format_exc()))


def _count(texts: list[str], tokenize: Callable[[str], Iterable[str]]) -> Counter[str]:
    counts = Counter()
    for text in texts:
        counts.update(tokenize(text))
    return counts
