"""What we read out of Slurm's own words, without a Slurm."""

import pytest

from grader.runners.slurm import queue


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("JobAcctGatherParams     = OverMemoryKill", True),
        ("JobAcctGatherParams     = overmemorykill", True),
        ("JobAcctGatherParams     = OverMemoryKill,UsePss", False),
        ("JobAcctGatherParams     = NoShared,OverMemoryKill", False),
        ("JobAcctGatherParams     = (null)", False),
        ("JobAcctGatherType       = jobacct_gather/cgroup", False),
    ],
)
def test_who_counts_shared_pages_for_each_process_is_noticed(tmp_path, monkeypatch, line, counts):
    fake = tmp_path / "scontrol"
    fake.write_text(f"#!/bin/sh\necho 'Configuration data'\necho '{line}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert queue.counts_shared_pages() == counts
