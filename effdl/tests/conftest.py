"""What the tests of effdl share."""

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_effdl_environment(monkeypatch):
    """Tests see the environment of a student, not that of the build that runs them."""
    for name in ("EFFDL_STRICT", "EFFDL_RECORD", "EFFDL_NOTEBOOK", "CI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock(monkeypatch):
    """A clock for effdl.bench that moves only when a test says so."""
    from types import SimpleNamespace

    from effdl import bench

    fake = SimpleNamespace(now=0.0)
    fake.perf_counter = lambda: fake.now
    monkeypatch.setattr(bench, "time", fake)
    return fake
