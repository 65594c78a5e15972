"""A monitor in production: rows come one by one, some without values, between restarts and Prometheus' questions."""

import math
from collections.abc import Sequence


class Monitor:
    """Two-sided cumulative sums of each feature, as in `run_length.py`, with a threshold that is known.

    `names` of the F features, their `mean` and `std` in the reference, `slack` and `threshold`.
    """

    def __init__(
        self,
        names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        slack: float,
        threshold: float,
    ):
        ### BEGIN SOLUTION
        self.names, self.mean, self.std = list(names), list(mean), list(std)
        self.slack, self.threshold = slack, threshold
        self.high, self.low = [0.0] * len(self.names), [0.0] * len(self.names)
        self.alarms, self.missing, self.rows = [0] * len(self.names), [0] * len(self.names), 0
        ### END SOLUTION

    def update(self, row: Sequence[float]) -> list[str]:
        """Take one row, in the features' own units; return the names of the features that give an alarm, in order.

        A feature gives an alarm when one of its two sums is larger than the threshold. Then both are set to 0. NaN
        stands for a missing value: the sums of its feature stay as they are.
        """
        ### BEGIN SOLUTION
        self.rows += 1
        found = []
        for place, value in enumerate(row):
            if math.isnan(value):
                self.missing[place] += 1
                continue
            z = (float(value) - self.mean[place]) / self.std[place]
            self.high[place] = max(0.0, self.high[place] + z - self.slack)
            self.low[place] = max(0.0, self.low[place] - z - self.slack)
            if max(self.high[place], self.low[place]) > self.threshold:
                self.high[place] = self.low[place] = 0.0
                self.alarms[place] += 1
                found.append(self.names[place])
        return found
        ### END SOLUTION

    def state(self) -> dict:
        """Return all that a new process needs to go on, as plain data that JSON can hold."""
        ### BEGIN SOLUTION
        return dict(vars(self))
        ### END SOLUTION

    @classmethod
    def restore(cls, state: dict) -> "Monitor":
        """Return a monitor that goes on from `state`, which has been through JSON."""
        ### BEGIN SOLUTION
        monitor = cls(state["names"], state["mean"], state["std"], state["slack"], state["threshold"])
        vars(monitor).update(state)
        return monitor
        ### END SOLUTION

    def metrics(self) -> str:
        """Return what Prometheus scrapes, in its text format 0.0.4, each family with its `# TYPE` line.

        drift_rows_total                    counter: rows so far
        drift_alarms_total{feature="..."}   counter: alarms of each feature so far, 0 too
        drift_missing_total{feature="..."}  counter: missing values of each feature so far
        drift_statistic{feature="..."}      gauge: the larger of the feature's two sums

        In a feature's name, backslash, double quote and line feed are escaped as the format says.
        """
        ### BEGIN SOLUTION
        lines = ["# TYPE drift_rows_total counter", f"drift_rows_total {self.rows}"]
        largest = [float(max(sums)) for sums in zip(self.high, self.low, strict=True)]
        for family, kind, values in (
            ("drift_alarms_total", "counter", self.alarms),
            ("drift_missing_total", "counter", self.missing),
            ("drift_statistic", "gauge", largest),
        ):
            lines.append(f"# TYPE {family} {kind}")
            for name, value in zip(self.names, values, strict=True):
                label = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
                lines.append(f'{family}{{feature="{label}"}} {value}')
        return "\n".join(lines) + "\n"
        ### END SOLUTION
