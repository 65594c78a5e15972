"""Where a submission is graded: in threads of this machine (`local`), or in tasks of a cluster (`slurm`)."""

RUNNERS = "local", "slurm"
