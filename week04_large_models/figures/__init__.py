"""What draws in this week: `from week04_large_models import figures`, then `figures.alive(...)`.

`memory` holds the figures of lecture 1, `parallel` those of lecture 2 and of placements, `seminar` the seminar's.
"""

from week04_large_models.figures.memory import (
    again_by_limit,
    alive,
    by_depth,
    front,
    links,
    program,
    slow_down,
    stacked,
    visits,
    zero,
)
from week04_large_models.figures.parallel import (
    break_even,
    bubble_and_memory,
    columns_and_rows,
    devices,
    experts,
    intervals,
    resharding,
    searches,
    sequence_cuts,
    tiles_by_rank,
    timelines,
)
from week04_large_models.figures.seminar import attempts, bytes_of_a_step
