"""The end of a program: nothing of its family is left, and who has ended is not waited for."""

import subprocess

import psutil

from effdl.processes import end, lives, still_alive
from effdl.prometheus import until


def family_of(child, count):
    """Return the processes below `child` once there are so many."""

    def below():
        found = psutil.Process(child.pid).children(recursive=True)
        return found if len(found) == count else None

    return until(below, f"{count} processes are there")


def test_a_program_that_ignores_sigterm_is_killed_with_what_it_has_started():
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait; sleep 600"])
    family = family_of(child, 1)
    end(child, patience=0.2)
    assert child.returncode == -9
    assert not any(lives(member) for member in family)


def test_a_session_takes_along_what_had_lost_its_parent_before():
    command = ["sh", "-c", "sh -c 'sleep 600 & echo $!'; exec sleep 600"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    orphan = psutil.Process(int(child.stdout.readline()))
    until(lambda: orphan.ppid() != child.pid, "its parent has gone")
    end(child)
    assert still_alive([orphan], seconds=60) == []
    child.stdout.close()


def test_who_has_ended_is_not_alive_though_nobody_reaps_it():
    child = subprocess.Popen(["sh", "-c", "sleep 0 & exec sleep 600"])
    try:
        (ended,) = family_of(child, 1)
        until(lambda: ended.status() == psutil.STATUS_ZOMBIE, "it has ended")
        assert still_alive([ended], seconds=60) == []
        assert ended.status() == psutil.STATUS_ZOMBIE
    finally:
        end(child)
