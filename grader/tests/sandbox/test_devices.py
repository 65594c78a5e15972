"""The allow-list of devices, on both versions of control groups, with devices that do no harm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from grader.sandbox import devices
from grader.sandbox.cgroup import CgroupError, Cgroups

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may limit which devices a group opens")
OPENS = """
import os, sys
for group in sys.argv[1].split(","):
    open(group, "w").write("0")
for name in sys.argv[2:]:
    try:
        os.close(os.open(name, os.O_RDWR))
        print(name, "opens")
    except PermissionError:
        print(name, "refused")
"""


def opened(groups: list[str], *names: str) -> list[str]:
    """What a process of these groups can open: root, whom rights on files do not stop."""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", OPENS, ",".join(groups), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def unified() -> Path | None:
    """Where groups of version 2 can be made here, be it without controllers."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(",") and os.access(place, os.W_OK):
            return Path(place)
    return None


@ROOT
def test_a_group_of_version_2_opens_no_device_that_is_not_listed():
    base = unified()
    if base is None:
        pytest.skip("no hierarchy of version 2 here")
    group = base / f"grader-test-{os.getpid()}"
    group.mkdir()
    try:
        devices.allow_version2(group, [(1, 3), (1, 5)])
        seen = opened([f"{group}/cgroup.procs"], "/dev/null", "/dev/zero", "/dev/full", "/dev/ptmx")
        assert seen == ["/dev/null opens", "/dev/zero opens", "/dev/full refused", "/dev/ptmx refused"]
        devices.allow_version2(group, [(1, 3), *devices.TERMINALS])
        assert opened([f"{group}/cgroup.procs"], "/dev/zero", "/dev/ptmx") == [
            "/dev/zero refused",
            "/dev/ptmx opens",
        ]
    finally:
        group.rmdir()


@ROOT
def test_a_job_with_a_list_opens_no_other_device_and_one_without_is_as_before():
    try:
        groups = Cgroups()
    except CgroupError as error:
        pytest.skip(str(error))
    for allowed, full in (([(1, 3), (1, 5)], "refused"), (None, "opens")):
        group = groups.create(memory=1 << 30, processes=16, cpus=1, allowed=allowed)
        try:
            if allowed and not group.lists_devices:
                pytest.skip("this kernel lets nobody limit devices")
            seen = opened(group.paths, "/dev/null", "/dev/full")
            assert seen == ["/dev/null opens", f"/dev/full {full}"]
        finally:
            group.remove()


def test_the_program_compares_every_device_before_it_denies():
    """A jump that is off by one would allow a device, or run past the end: read as the kernel runs it."""
    code = devices.program([(1, 3), (195, None), (10, 229)])
    steps = [code[at : at + 8] for at in range(0, len(code), 8)]

    def runs(kind: int, major: int, minor: int) -> int:
        registers, at = {0: None, 2: kind, 3: major, 4: minor}, 5
        assert kind == 2
        while True:
            kinds, to = steps[at][0], steps[at][1] & 15
            offset = int.from_bytes(steps[at][2:4], "little", signed=True)
            value = int.from_bytes(steps[at][4:8], "little", signed=True)
            at += 1
            if kinds == 0x95:
                return registers[0]
            if kinds == 0xB7:
                registers[to] = value
            elif registers[to] != value:
                at += offset

    assert [runs(2, *device) for device in ((1, 3), (195, 0), (195, 255), (10, 229))] == [1, 1, 1, 1]
    assert [runs(2, *device) for device in ((1, 5), (10, 3), (3, 1), (229, 10), (196, 0))] == [0] * 5
    assert steps[4][0] == 0x55
    assert int.from_bytes(steps[4][2:4], "little") == len(steps) - 5 - 2
