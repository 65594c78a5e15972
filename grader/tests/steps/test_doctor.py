"""The doctor finds by trying, and its advice fits what was found."""

import pytest
from typer.testing import CliRunner

from grader.cli import app, console
from grader.sandbox.build import SandboxError
from grader.steps import doctor


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"kernel/unprivileged_userns_clone": "0"}, "sysctl kernel.unprivileged_userns_clone=1"),
        (
            {"user/max_user_namespaces": "0", "kernel/apparmor_restrict_unprivileged_userns": "1"},
            "sysctl user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"user/max_user_namespaces": "63000"}, "a container or a chroot may"),
        ({}, "a container or a chroot may"),
    ],
)
def test_the_advice_names_the_setting_that_stands_in_the_way_and_no_other(tmp_path, settings, advice):
    for name, value in settings.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    assert doctor.remedy(root=False, settings=tmp_path).endswith(advice)


def test_root_is_not_told_to_become_root(tmp_path):
    assert "run as root" not in doctor.remedy(root=True, settings=tmp_path)


def test_a_machine_without_a_sandbox_gets_a_table_and_no_traceback(monkeypatch):
    def refused(*_):
        raise SandboxError("unshare: Operation not permitted")

    monkeypatch.setattr(doctor, "Examiner", refused)
    monkeypatch.setattr(console, "width", 200)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "unshare: Operation not permitted" in result.output
    assert "`grader grade` refuses" in result.output


def test_groups_that_cannot_limit_cpu_time_are_not_called_complete(monkeypatch):
    class WithoutCpu:
        version, limits_cpu = 2, False

    monkeypatch.setattr(doctor, "Cgroups", WithoutCpu)
    found = doctor._cgroups()
    assert found.state == "note"
    assert "--jobs 1" in found.follows
