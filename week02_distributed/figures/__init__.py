"""What draws in this week: `from week02_distributed import figures`, then `figures.zipf(...)`.

`diagrams` explains in the lecture; `lecture` and `seminar` show what their notebook measured, in plots and tables.
"""

from week02_distributed.figures.diagrams import gantt, parameter_servers, threads_and_processes, three_cuts
from week02_distributed.figures.lecture import (
    accuracy_by_round,
    by_load,
    bytes_by_batch,
    channel_table,
    delayed_descent,
    loss_by_step_size,
    message_costs,
    real_table,
    rounds_table,
    schedule_table,
    shard_table,
    speed_gains,
    start_table,
    straggler_table,
    waiting_or_stale,
)
from week02_distributed.figures.seminar import (
    loss_over_time,
    lost_updates,
    price_table,
    with_and_without_server,
    word_map,
    zipf,
)
