# replaces: token_counts.py
# caught by: counting_is_as_fast_as_two_processes
# mistake: workers send the tokens of each text, and the caller counts them
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any


def count_tokens(
    texts: Sequence[str], tokenize: Callable[[str], Iterable[str]], workers: int
) -> Counter[str]:
    tasks = [(list(texts[worker::workers]), tokenize) for worker in range(workers)]
    return Counter(token for one in in_processes(_count, tasks) for token in one)


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
    return [token for text in texts for token in tokenize(text)]
