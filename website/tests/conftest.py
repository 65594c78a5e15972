"""The site that the tests look at: a small one, made once for all of them, or the one that SITE names.

`make test-site` builds the whole site and names it; `make test` looks at week 1 and the homework.
"""

import os
import warnings
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from website.build import build
from website.layout import released

BUILT = "SITE"
"""The environment variable that names a site which is built already."""


@pytest.fixture(scope="session")
def site(tmp_path_factory, course) -> Path:
    """The folder of a built site. A warning of Sphinx fails every test that needs it."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed (requirements-site.txt)")
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed (requirements-site.txt)")
    if BUILT in os.environ:
        folder = Path(os.environ[BUILT]).resolve()
        assert (folder / "index.html").is_file(), f"{BUILT}={folder} holds no site; run make site"
        return folder
    folder = tmp_path_factory.mktemp("site") / "built"
    with warnings.catch_warnings():
        # MyST-NB uses what Sphinx 11 will not have. What Sphinx itself warns of is in its log, and fails.
        warnings.simplefilter("ignore")
        build(folder, [1], course)
    return folder


@pytest.fixture(scope="session")
def pages(site) -> dict[str, BeautifulSoup]:
    """Every page of the site by its name, parsed."""
    return {
        path.relative_to(site).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
    }


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Path:
    """A course root with every assignment released: sources and what students get, side by side."""
    return released(tmp_path_factory.mktemp("course") / "assignments")
