"""What one run of a student's code gave, and what was measured around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class PerRank(list[Any]):
    """What every rank returned, in their order. No submission can return one: from the wire come plain lists."""


@dataclass(frozen=True)
class Run:
    """What came back from one run of the student's code, and what was measured around it.

    What this machine does not count is None.
    """

    results: PerRank
    stdout: str
    stderr: str
    wall: float  # seconds from the first input byte sent to the last output byte received
    cpu_seconds: float | None
    peak_memory: int | None  # bytes
    output_bytes: int  # written to stdout and stderr, also what was not kept
    processes: int | None  # most processes and threads of the job at one time, since its start
    left: int | None  # processes begun during the call that outlived the answer by more than a moment
    sent: list[list[int]] | None  # bytes, headers included: sent[i][j] from rank i to rank j
    packets: list[list[int]] | None  # the same in packets
    peak_gpu_memory: int | None = (
        None  # bytes, where there is a GPU; what is held for less than 10 ms may be missed
    )

    @property
    def result(self) -> Any:
        """What the function returned, on rank 0 where there are several."""
        return self.results[0]

    @property
    def network_bytes(self) -> int | None:
        """Bytes that all ranks together sent to each other."""
        return None if self.sent is None else sum(map(sum, self.sent))

    @property
    def network_packets(self) -> int | None:
        """Packets that all ranks together sent to each other."""
        return None if self.packets is None else sum(map(sum, self.packets))
