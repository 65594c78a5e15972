"""What draws in this week: `from week01_intro import figures`, then `figures.chips()`. Each returns a figure.

The files are named after the notebook that shows their figures.
"""

from week01_intro.figures.lecture import chips, copies, gpu_memory, segments, threads, timelines
from week01_intro.figures.seminar import (
    dot_product_ratios,
    launches_and_kernels,
    power_differences,
    protocols,
    reported_spread,
    reported_times,
    sum_errors,
)
