"""The users that root's workers run as are nobody else's."""

import os

import pytest

from grader.sandbox.users import WORKER_UIDS, worker_users

WHOLE = "         0          0 4294967295\n"
TAKEN = {
    "the machine's own and people": range(0, 60_001),
    "systemd-homed": range(60_001, 60_578),
    "systemd's services with DynamicUser=": range(61_184, 65_520),
    "nobody": range(65_534, 65_536),
    "containers of people, as /etc/subuid hands them out": range(100_000, 524_288),
    "systemd's containers": range(524_288, 1_879_048_192),
}


@pytest.mark.parametrize(
    "mapped", ["", WHOLE, "0 100000 65536\n", "0 1000 1\n1 100000 65536\n", "0 0 97500\n"]
)
def test_no_worker_is_a_user_that_somebody_else_hands_out(mapped):
    users = worker_users(mapped)
    assert len(users) >= 500
    for whose, taken in TAKEN.items():
        assert users[-1] < taken[0] or users[0] > taken[-1], whose


@pytest.mark.skipif(not os.path.exists("/proc/self/uid_map"), reason="needs Linux")
def test_in_a_container_of_few_users_the_workers_are_among_them():
    assert worker_users("0 100000 65536\n")[-1] < 65_536
    assert worker_users(WHOLE)[0] > 65_536
    with open("/proc/self/uid_map") as file:
        assert worker_users(file.read()) == WORKER_UIDS
