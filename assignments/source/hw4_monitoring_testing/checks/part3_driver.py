"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw answers.
"""

import json

import numpy as np


def plain(value):
    """Return an array or one of NumPy's numbers as plain numbers."""
    return value.tolist() if hasattr(value, "tolist") else value


def sums(values, slack):
    """Return both cumulative sums."""
    from run_length import statistics

    up, down = statistics(values.numpy().copy(), slack)
    return np.asarray(up, dtype=np.float64), np.asarray(down, dtype=np.float64)


def threshold(reference, slack, run_length, seed):
    """Return the calibrated threshold."""
    from run_length import calibrate

    return float(calibrate(reference.numpy().copy(), slack, run_length, seed))


def watched(settings, rows, restarts):
    """Return alarms and metrics of each row; before the rows in `restarts` the monitor goes through JSON."""
    from monitor import Monitor

    monitor, found = Monitor(**settings), []
    for number, row in enumerate(rows.numpy()):
        if number in restarts:
            monitor = Monitor.restore(json.loads(json.dumps(monitor.state())))
        found.append([[str(name) for name in monitor.update(row.copy())], monitor.metrics()])
    return found


def alarms(reference, run_length, streams):
    """Return for each stream [T, F] the first row with an alarm, counted from 1, and 0 where there is none."""
    from detector import Detector

    detector, found = Detector(reference.numpy().copy(), run_length), []
    for stream in streams.numpy():
        detector.reset()
        first = 0
        for number, row in enumerate(stream, 1):
            if detector.update(row):
                first = number
                break
        found.append(first)
    return found
