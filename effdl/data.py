"""Real, small data that needs no download, and one door to data that does.

| what | size | licence |
|---|---|---|
| `docstrings()` | about 28 MB of English | that of each package; built on your machine, never redistributed |
| `photographs()` | two JPEGs, 640 x 427 | CC BY 2.0, see `PHOTOGRAPH_CREDITS`; they come with scikit-learn |
| `load(name)` | as large as the data set | that of the data set, on its page |
"""

import ast
import contextlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rich.console
import rich.progress
from PIL import Image

# Text per second of parsing decides the order: a size limit then also limits the wait.
PACKAGES = {  # distribution: the folder of its source
    "networkx": "networkx",
    "numpy": "numpy",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "pandas": "pandas",
    "sympy": "sympy",
    "matplotlib": "matplotlib",
    "datasets": "datasets",
    "torch": "torch",
}
MIN_WORDS = 10  # a shorter docstring is a label, not a text
FOLDERS_LEFT_OUT = {"site-packages", "test", "tests", "testing", "idlelib", "_vendor"}
NETWORK_WAIT = 3.0  # seconds in which the data sets' host must answer

PHOTOGRAPH_CREDITS = {
    "china": "flickr.com/photos/danielbuechele/6061409035, by danielbuechele, CC BY 2.0",
    "flower": "flickr.com/photos/vultilion/6056698931, by vultilion, CC BY 2.0",
}


def cache_folder() -> Path:
    """Where built data is kept: `.cache` in a checkout of the course, else the user's own cache folder."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").exists() and os.access(root, os.W_OK):
        return root / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "effdl"


def docstrings(megabytes: float | None = None) -> list[str]:
    """English text from the docstrings of Python's standard library and of the packages the course installs.

    The order is the same in every call: the standard library, then `PACKAGES`, each by file name and line.
    A docstring that occurs twice in one package is kept once. The first call parses the source, which took 113 s for
    everything on a busy two-core machine (38,000 texts, 4 million words) and 20 s for the standard library, and
    keeps the text in `cache_folder()`, one file per package and version. Later calls take under a second.

    Args:
        megabytes: stop after this many million characters. None: everything.

    Returns:
        One string per docstring, without indentation.
    """
    if megabytes is not None and not megabytes > 0:
        raise ValueError(f"megabytes={megabytes!r}: give a positive size, or None for everything")
    limit = float("inf") if megabytes is None else megabytes * 1e6
    texts, size = [], 0
    for name, version, folder in sources():
        for text in package_docstrings(name, version, folder):
            if size >= limit:
                return texts
            texts.append(text)
            size += len(text)
    return texts


def sources() -> Iterator[tuple[str, str, Path]]:
    """Name, version and folder of every source that is installed."""
    yield "python", platform.python_version(), Path(sysconfig.get_path("stdlib"))
    for distribution, package in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield (
                distribution,
                importlib.metadata.version(distribution),
                Path(spec.submodule_search_locations[0]),
            )


def package_docstrings(name: str, version: str, folder: Path) -> list[str]:
    """The docstrings of one package, from the cache or from its source."""
    cached = cache_folder() / "docstrings" / f"{name}-{version}.json"
    if cached.exists():
        return json.loads(cached.read_text(encoding="utf-8"))
    files = [
        path
        for path in sorted(folder.rglob("*.py"))
        if not FOLDERS_LEFT_OUT & set(path.relative_to(folder).parts)
    ]
    found: dict[str, None] = {}
    console = rich.console.Console(stderr=True)
    for path in rich.progress.track(
        files, f"docstrings of {name} {version} (once)", console=console, transient=True
    ):
        found.update(dict.fromkeys(_docstrings_of(path.read_bytes())))
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may build at once: each writes its own file, and the last rename wins with the same text.
    draft = cached.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(list(found), ensure_ascii=False), encoding="utf-8")
    draft.replace(cached)
    return list(found)


def _docstrings_of(source: bytes) -> list[str]:
    """The docstrings of one file of at least `MIN_WORDS` words, in the order of their lines.

    A file that is no Python of this version (packages ship templates and examples of errors) has none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    texts = [ast.get_docstring(node, clean=False) for node in nodes]
    return [inspect.cleandoc(text) for text in texts if text and len(text.split()) >= MIN_WORDS]


def photographs() -> dict[str, Image.Image]:
    """The two photographs that scikit-learn ships: {"china": image, "flower": image}, RGB, 640 x 427 pixels.

    `numpy.asarray(image)` has the shape (427, 640, 3), uint8; `image.filename` is the JPEG file, for whoever wants
    to decode it. Whoever shows them names their authors: `PHOTOGRAPH_CREDITS`.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the photographs come with scikit-learn: pip install scikit-learn")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "images"
    return {name: Image.open(folder / f"{name}.jpg") for name in PHOTOGRAPH_CREDITS}


def load(name: str, config: str | None = None, *, split: str, offline: Callable[[], dict] | None = None):
    """A data set of the Hugging Face Hub, or what stands in for it where there is no network.

    Args:
        name, config, split: as for `datasets.load_dataset`, for example ("Salesforce/wikitext",
            "wikitext-2-raw-v1", split="train").
        offline: builds the stand-in as {column: values}, for example `lambda: {"text": docstrings(3)}`. One
            sentence says when it is used.

    Returns:
        A `datasets.Dataset`. One that was downloaded before is found without a network.

    Raises:
        ConnectionError: no network, not downloaded before, and no `offline`.
    """
    import datasets

    reachable = _hub_answers()
    try:
        with contextlib.nullcontext() if reachable else _hub_switched_off():
            return datasets.load_dataset(name, config, split=split)
    except ConnectionError as error:
        problem = f'"{name}" is not on this machine and {_hub()} did not answer'
        if offline is None:
            raise ConnectionError(f"{problem}: connect once, and it is kept for later") from error
    warnings.warn(f"{problem}: bundled data stands in for it, so your numbers will differ", stacklevel=2)
    return datasets.Dataset.from_dict(offline())


def _hub() -> str:
    import huggingface_hub.constants

    return huggingface_hub.constants.ENDPOINT


def _hub_answers() -> bool:
    """Whether the Hub answers within `NETWORK_WAIT` seconds; the libraries themselves try for half a minute."""
    import huggingface_hub

    answers = []

    def ask():
        with contextlib.suppress(Exception):  # any failure to reach it is a no
            huggingface_hub.utils.get_session().head(_hub(), timeout=NETWORK_WAIT)
            answers.append(True)

    # In a thread, because the look-up of a host name knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(NETWORK_WAIT)
    return bool(answers)


@contextlib.contextmanager
def _hub_switched_off():
    """What HF_HUB_OFFLINE=1 would do, which the libraries read only while they are imported."""
    import datasets.config
    import huggingface_hub.constants

    switches: tuple[Any, Any] = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in switches]
    for module in switches:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value
