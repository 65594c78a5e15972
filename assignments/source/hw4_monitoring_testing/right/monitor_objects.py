# replaces: monitor.py
# method: an object for each feature, kept in a dictionary; the state is a dictionary of dictionaries
import dataclasses
import math


@dataclasses.dataclass
class Feature:
    mean: float
    std: float
    up: float = 0.0
    down: float = 0.0
    alarms: int = 0
    missing: int = 0


class Monitor:
    def __init__(self, names, mean, std, slack, threshold):
        self.slack, self.threshold, self.rows = float(slack), float(threshold), 0
        self.features = {n: Feature(float(m), float(s)) for n, m, s in zip(names, mean, std, strict=True)}

    def update(self, row):
        self.rows += 1
        alarms = []
        for (name, feature), x in zip(self.features.items(), map(float, row), strict=True):
            if math.isnan(x):
                feature.missing += 1
                continue
            z = (x - feature.mean) / feature.std
            feature.up = max(0.0, feature.up + z - self.slack)
            feature.down = max(0.0, feature.down - z - self.slack)
            if feature.up > self.threshold or feature.down > self.threshold:
                feature.up = feature.down = 0.0
                feature.alarms += 1
                alarms.append(name)
        return alarms

    def state(self):
        return {
            "slack": self.slack,
            "threshold": self.threshold,
            "rows": self.rows,
            "features": [[name, dataclasses.asdict(f)] for name, f in self.features.items()],
        }

    @classmethod
    def restore(cls, state):
        monitor = cls([], [], [], state["slack"], state["threshold"])
        monitor.rows = state["rows"]
        monitor.features = {name: Feature(**values) for name, values in state["features"]}
        return monitor

    def metrics(self):
        lines = ["# TYPE drift_rows_total counter", f"drift_rows_total {self.rows}"]
        for family, kind, get in (
            ("drift_alarms_total", "counter", lambda f: f.alarms),
            ("drift_missing_total", "counter", lambda f: f.missing),
            ("drift_statistic", "gauge", lambda f: max(f.up, f.down)),
        ):
            lines.append(f"# TYPE {family} {kind}")
            for name, feature in self.features.items():
                label = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
                lines.append(f'{family}{{feature="{label}"}} {get(feature)}')
        return "\n".join(lines) + "\n"
