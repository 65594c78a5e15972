# replaces: monitor.py
# method: NumPy arrays and a mask of the values that are there; metrics with HELP lines, and counts written as 3.0
import numpy as np

ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
HELP = {
    "drift_rows_total": ("counter", "Rows so far."),
    "drift_alarms_total": ("counter", "Alarms so far."),
    "drift_missing_total": ("counter", "Missing values so far."),
    "drift_statistic": ("gauge", "The larger of the two sums."),
}


class Monitor:
    def __init__(self, names, mean, std, slack, threshold):
        self.settings = [list(names), [float(m) for m in mean], [float(s) for s in std], slack, threshold]
        self.sums = np.zeros((2, len(names)))
        self.counts = np.zeros((2, len(names)), dtype=int)
        self.rows = 0

    def update(self, row):
        names, mean, std, slack, threshold = self.settings
        row = np.asarray(row, dtype=float)
        there = ~np.isnan(row)
        z = (row - mean) / np.asarray(std)
        new = np.maximum(self.sums + np.stack([z, -z]) - slack, 0)
        self.sums = np.where(there, new, self.sums)
        crossed = (self.sums > threshold).any(axis=0)
        self.sums[:, crossed] = 0
        self.counts += np.stack([crossed, ~there])
        self.rows += 1
        return [names[i] for i in np.flatnonzero(crossed)]

    def state(self):
        return {"all": [self.settings, self.sums.tolist(), self.counts.tolist(), self.rows]}

    @classmethod
    def restore(cls, state):
        settings, sums, counts, rows = state["all"]
        monitor = cls(*settings)
        monitor.sums, monitor.counts, monitor.rows = np.array(sums), np.array(counts), rows
        return monitor

    def metrics(self):
        values = [[float(self.rows)], *self.counts.astype(float).tolist(), self.sums.max(axis=0).tolist()]
        out = ""
        for (family, (kind, text)), numbers in zip(HELP.items(), values, strict=True):
            out += f"# HELP {family} {text}\n# TYPE {family} {kind}\n"
            if family == "drift_rows_total":
                out += f"{family} {numbers[0]}\n"
                continue
            for name, number in zip(self.settings[0], numbers, strict=True):
                out += f'{family}{{feature="{name.translate(ESCAPES)}"}} {number!r}\n'
        return out
