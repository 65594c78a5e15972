"""Count tokens with several processes.

Try it: python token_counts.py
"""

import multiprocessing
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any


def count_tokens(
    texts: Sequence[str], tokenize: Callable[[str], Iterable[str]], workers: int
) -> Counter[str]:
    """Return how often each token occurs in all texts together.

    `tokenize` maps one text to its tokens. It is called once per text, in one of `workers` processes that work
    at the same time, never in the calling process. `texts` may be shorter than `workers`, or empty.

    No process is left when this function returns or raises. Raises an exception whose message contains the
    message of what `tokenize` raised, and some exception where a worker dies, by a signal for example.
    """
    ### BEGIN SOLUTION
    tasks = [(list(texts[worker::workers]), tokenize) for worker in range(workers)]
    return sum(in_processes(_count, tasks), Counter())
    ### END SOLUTION


### BEGIN SOLUTION
def in_processes(
    function: Callable, tasks: Sequence[tuple], watch: Callable[[], None] = lambda: None
) -> list[Any]:
    """Return `function(*task)` of every task, each called in a process of its own, all at the same time.

    `watch` is called ten times a second, and once more when all have returned. Raises RuntimeError for the
    first task that fails, and ends the others at once.
    """
    context = multiprocessing.get_context(
        "fork"
    )  # functions need not be importable, nor arguments be pickled
    processes, inboxes, results = [], {}, {}
    try:
        for number, task in enumerate(tasks):
            inbox, outbox = context.Pipe(duplex=False)
            processes.append(context.Process(target=_answer, args=(outbox, function, task)))
            processes[-1].start()
            outbox.close()  # then the worker holds the only one, and its death shows as the end of the file
            inboxes[inbox] = number
        while inboxes:
            for inbox in wait(list(inboxes), timeout=0.1):
                number = inboxes.pop(inbox)
                results[number] = _result(inbox, number)
            watch()
        return [results[number] for number in range(len(tasks))]
    finally:
        for process in processes:
            process.kill()  # no effect on those that have returned
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


### END SOLUTION


if __name__ == "__main__":
    words = re.compile(r"[a-z]+")
    lines = ["The cat sat on the mat.", "A dog saw the cat.", "The mat was red."]
    print(count_tokens(lines, lambda text: words.findall(text.lower()), workers=2).most_common(3))
