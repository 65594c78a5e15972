"""Public checks of part 1: students have them too. The hidden ones call the same procedure with other inputs."""

import torch

from grader.checks import check, expect_close


def expect_averages(sub, length, width, dtype=torch.float64):
    """Compare with the mean of each window, computed here."""
    values = sub.rng.normal((length,), dtype=dtype)
    expected = torch.stack([values[i : i + width].mean() for i in range(length - width + 1)])
    atol, why = (1e-10, "float64") if dtype == torch.float64 else (1e-4, "float32 sums of numbers near 1")
    found = sub.call("averages:moving_average", values, width).result
    expect_close(found, expected, atol=atol, why=why, of=f"the result for {length} values, width {width}")


@check(item="moving_average", points=1, hint="The last window ends with the last value.")
def averages_of_a_vector(sub):
    """100 float64 values, a width from 2 to 9: the mean of every window."""
    expect_averages(sub, 100, sub.rng.integers(2, 10))
