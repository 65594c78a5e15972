"""Runs beside the student's code, in its process: nothing that it says is trusted."""


def stream(batches):
    """Feed a meter batch by batch and return what it reads after each."""
    from meter import Meter

    meter, readings = Meter(), []
    for batch in batches:
        meter.update(batch)
        readings.append(list(meter.read()))
    return readings
