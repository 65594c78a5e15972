"""What draws in this week: `from week04_large_models import figures`, then `figures.alive(...)`.

`memory` holds the figures of the lecture's first half, `parallel` those of its second half, `seminar` those of the
seminar.
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
    bubble_and_memory,
    columns_and_rows,
    devices,
    experts,
    intervals,
    resharding,
    searches,
    sequence_cuts,
    timelines,
)
from week04_large_models.figures.seminar import attempts, bytes_of_a_step
