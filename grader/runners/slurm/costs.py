"""How large a batch must be so that starting its task costs little: measured, and kept for the next time."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

from grader.runners.slurm import sealed

SHARE = 0.1  # of a task's time that its start may take
_ENOUGH = 3  # submissions, until their mean says something


class Costs:
    """Seconds until a task examines its first submission, and of a submission."""

    def __init__(self, path: Path):
        """Read what an earlier run has kept in the file `path`, where there is one."""
        self._path = path
        self.startups: list[float] = []
        self.seconds: list[float] = []
        self._earlier: tuple[float, float] | None = None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            self._earlier = float(data["startup"]), float(data["seconds"])
        except (OSError, ValueError, TypeError, KeyError):
            self._earlier = None  # nothing was measured yet

    def known(self) -> tuple[float, float] | None:
        """Return the seconds of a start and of a submission: this run's, else those of an earlier one, else None."""
        if len(self.seconds) >= _ENOUGH and self.startups:
            return statistics.median(self.startups), statistics.fmean(self.seconds)
        return self._earlier

    def batch(self, minutes: int) -> int | None:
        """Return how many submissions a task takes, None where nothing was measured yet.

        So many that its start is `SHARE` of its time at the most, and so few that a third of its `minutes` is enough:
        a class can be slower than it looks.
        """
        if (known := self.known()) is None:
            return None
        startup, each = known[0], max(known[1], 0.001)
        enough = math.ceil(startup * (1 / SHARE - 1) / each)
        return max(1, min(enough, int(minutes * 60 / 3 / each)))

    def keep(self) -> None:
        """Keep what this run has measured, where it has measured anything."""
        if self.seconds and (known := self.known()) is not None:
            starts, work = sum(self.startups), sum(self.seconds)
            told = {"startup": known[0], "seconds": known[1], "tasks": len(self.startups)}
            told["share"] = starts / (starts + work)  # of the tasks' time that their starts took
            sealed.write(self._path, json.dumps(told).encode())
