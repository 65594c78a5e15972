"""For all tests: a slow or busy machine makes anything slow, which is no finding; and a browser that asks nobody."""

import os
import shutil

import pytest
from hypothesis import settings

settings.register_profile("course", deadline=None)
settings.load_profile("course")
# What ranks may take, see effdl.launch: so long that it only ends a hang.
os.environ.setdefault("EFFDL_DEADLINE", "300")


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
