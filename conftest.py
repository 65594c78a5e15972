"""For all tests: a slow or busy machine makes anything slow, which is no finding; what `make test` draws of large
families; and a browser that asks nobody."""

import hashlib
import os
import shutil

import pytest
from hypothesis import settings

settings.register_profile("course", deadline=None)
settings.load_profile("course")
# What ranks may take, see effdl.launch: so long that it only ends a hang.
os.environ.setdefault("EFFDL_DEADLINE", "300")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where EFFDL_DRAW is set, as by `make test`, run of what is marked `drawn(n)` about one test in n.

    The value, there the commit, and a test's name decide together, so that each process of a run, its second try and
    a colleague draw the same, and the next commit others.
    """
    draw = os.environ.get("EFFDL_DRAW")
    if not draw:
        return
    config.hook.pytest_deselected(items=[item for item in items if not _is_drawn(item, draw)])
    items[:] = [item for item in items if _is_drawn(item, draw)]


def _is_drawn(item: pytest.Item, draw: str) -> bool:
    mark = item.get_closest_marker("drawn")
    if mark is None:
        return True
    digest = hashlib.sha256(f"{draw} {item.nodeid}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % mark.args[0] == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a screen and without a network but the loopback; it logs every request that it would make."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed (requirements-test.txt)"
    )
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "no-proxy-server"),
        *("disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
        *("window-size=1200,1400", f"user-data-dir={tmp_path_factory.mktemp('chromium')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(300)
    driver.set_script_timeout(120)
    yield driver
    driver.quit()
