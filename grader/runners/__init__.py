"""Where a submission is graded. One runner for now: threads of this machine."""
