"""What a recorded run was bound by, judged from its numbers, in one sentence."""

from dataclasses import dataclass

BUSY = 0.8
"""From this share of the time on, something counts as busy, or as what everybody waits for."""


@dataclass(frozen=True)
class Verdict:
    """What a run was bound by: a word or two, and the sentence with the numbers that say so."""

    bound: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def judge(
    shares: dict[str, float], cores: int, waits_in: dict[str, float] | None = None, children: int = 0
) -> Verdict:
    """What a run with these numbers (see :meth:`Run.shares`) on so many cores was bound by.

    The first that holds, in this order: a busy GPU, memory that stalls everybody, other programs on the cores,
    children that work while the main process waits, all cores busy, one core busy, the disk, the network, nothing
    visible; otherwise a mixture.
    """
    main, below = shares["main wants"], shares["children want"]
    wanted, used = main + below, shares["main"] + shares["children"]
    where = next(iter(waits_in or {}), "")
    seen = f", mostly for {where} ({waits_in[where]:.0%} of the samples)" if waits_in and where else ""
    rests = f"its processes use {used:.2f} of {cores} cores"
    moved = shares["read"] + shares["written"]
    if shares["gpu"] >= BUSY - 0.1:
        return _verdict("gpu", "the GPU", f"kernels ran in {shares['gpu']:.0%} of the time, while {rests}")
    if shares["memory stalled"] >= 0.2 or shares["swapped in"] >= 10e6:
        return _verdict(
            "memory",
            "memory pressure",
            f"in {shares['memory stalled']:.0%} of the time all processes waited for pages, "
            f"{_bytes(shares['swapped in'])}/s came back from swap",
        )
    others, queued = max(shares["machine"] - used, 0.0), max(wanted - used, 0.0)
    beside = f"; other programs use {others:.1f} cores" if others >= 0.3 else ""
    beside += f", for which it waits {queued:.0%} of the time" if beside and queued >= 0.2 else ""
    if wanted >= 0.5 and queued > 0.75 * wanted and beside:
        return _verdict("other programs", "other programs", f"{rests}{beside}")
    if below >= 0.4 and main < 0.5 and below >= 2 * main:
        full = "; all cores are busy" if wanted >= BUSY * cores else beside
        count = "one process below it keeps" if children == 1 else f"{children} processes below it keep"
        return _verdict(
            "workers",
            "its workers or other child processes",
            f"the main process works {shares['main']:.0%} of the time and waits otherwise, while {count} "
            f"{shares['children']:.2f} cores busy{full}",
        )
    if wanted >= BUSY * cores:
        what = (
            "its own processor work on all cores" if cores > 1 else "its own processor work on the only core"
        )
        return _verdict("all cores", what, f"{rests}{beside}")
    if main >= BUSY:
        these = "one core" if main < 1.2 else f"{main:.1f} cores"
        if queued >= 0.2:
            numbers = (
                f"one Python process could keep {these} busy and gets {shares['main']:.2f} of {cores}{beside}"
            )
        else:
            rest = beside or ", the others are idle"
            numbers = f"one Python process keeps {these} busy ({used:.2f} of {cores} cores){rest}"
        return _verdict("one core", "its own processor work in one process", numbers)
    # A fast disk is seen at work more often than a thread is caught waiting; it counts if these bytes are ours.
    busy = shares["disk busy"] if moved >= shares["disk bytes"] / 2 else 0.0
    at_disk = max(shares["at the disk"], (waits_in or {}).get("the disk", 0.0), busy)
    if at_disk >= 0.35 and at_disk > wanted / 2 and moved > 0:
        numbers = (
            f"in {shares['at the disk']:.0%} of the samples a thread waited for it, it was busy "
            f"{shares['disk busy']:.0%} of the time and moved {_bytes(shares['read'])}/s in and "
            f"{_bytes(shares['written'])}/s out, while {rests}{beside}"
        )
        return _verdict("disk", "the disk", numbers)
    net = shares["received"] + shares["sent"] + shares["loopback"]
    if wanted < 0.6 and net >= 0.5e6 and where not in ("a timer", "the disk", "a child process"):
        return _verdict("network", "the network", f"{_bytes(net)}/s pass, while it waits{seen} and {rests}")
    if wanted < 0.4:
        beneath = f", and so do its {children} child processes" if children else ""
        passing = f"{_bytes(moved)}/s pass at the disk and {_bytes(net)}/s at the network"
        numbers = f"it waits{seen}{beneath}; {rests}, {passing}"
        return _verdict("waiting", "waiting for nothing that shows", numbers)
    numbers = (
        f"the main process works {shares['main']:.0%} of the time, its children use {shares['children']:.2f} cores, "
        f"a thread waited for the disk in {shares['at the disk']:.0%} of the samples{beside}"
    )
    return _verdict("mixed", "no single thing", numbers)


def _verdict(bound: str, what: str, numbers: str) -> Verdict:
    return Verdict(bound, f"Bound by {what}: {numbers}.")


def _bytes(count: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"
