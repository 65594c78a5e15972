"""nbgrader's configuration, found in the files and followed by the rules that nbgrader has for them."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import CourseError, parse_size
from grader.notebooks.limits import NO_LIMIT, USUAL
from grader.notebooks.template import HIDDEN, SCHEME, SOLUTION, Marks

if TYPE_CHECKING:
    from traitlets.config import Config

    from grader.lean import nbformat
    from grader.notebooks.limits import Seconds

NAMES = "nbgrader_config.py", "nbgrader_config.json"  # in a course root; the second one overrules the first
# Sections under which nbgrader's options stood in earlier versions; it still reads them.
_OUTDATED = "NbGraderConfig", "BasicConfig", "BaseNbGraderApp", "BaseApp", "NbGrader", "TransferApp"
_OUTDATED += ("BaseNbConvertApp",)


# Classes under whose names nbgrader's Execute finds its settings. Its import takes a tenth of a second and more.
_EXECUTE = "Execute", "ExecutePreprocessor", "NotebookClient", "Preprocessor", "NbGraderPreprocessor"
_EXECUTE += "NbConvertBase", "LoggingConfigurable", "Configurable"


def load(root: Path) -> Config:
    """Return the configuration that nbgrader has in the course at `root`: Jupyter's folders first, then the course.

    What lies in the folder that the command was started in does not count: it may be a student's. Raises CourseError
    with file and line where a file cannot be read or run.
    """
    from jupyter_core.paths import jupyter_config_path
    from traitlets.config import Config

    config = Config()
    folders = [Path(folder) for folder in reversed(jupyter_config_path())]
    for name in ("jupyter_config", "nbgrader_config"):
        for folder in [*folders, *([root] if name == "nbgrader_config" else [])]:
            for ending in ("py", "json"):
                if (path := folder / f"{name}.{ending}").is_file():
                    config.merge(_read(path))
    if any(name in config for name in _OUTDATED) or "course_id" in config.Exchange:
        from nbgrader.apps.baseapp import NbGrader
        from traitlets import TraitError

        try:
            config = NbGrader(config=config).config  # moves them to where they stand now, and says so
        except TraitError as error:
            raise CourseError(f"nbgrader's configuration: {error}") from None
    return config


def _read(path: Path) -> Config:
    from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

    loader = PyFileConfigLoader if path.suffix == ".py" else JSONFileConfigLoader
    try:
        return loader(path.name, path=str(path.parent)).load_config()
    except CourseError:
        raise  # of the course's data, which `configure` reads
    except Exception as error:  # whatever the code in it raises
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        says = " ".join(f"{type(error).__name__}: {error}".split())
        raise CourseError(f"{path}{f', line {line}' if line else ''}: {says}; correct it") from None


def of_course(root: Path) -> Iterator[Path]:
    """Yield the files that configure the course at `root`, whether they are there or not."""
    yield from (root / name for name in NAMES)


def cell_seconds(config: Config) -> Seconds:
    """Return how long a cell may run, in seconds, or a function that says it of each cell.

    As nbgrader has it: `timeout_func` overrules `timeout`, each may stand under the name of an older class, and None,
    0 or less is no limit. Raises CourseError where nbgrader would not accept the value.
    """
    if not any(config.get(section) for section in _EXECUTE):
        return USUAL
    from nbgrader.preprocessors import Execute
    from traitlets import TraitError

    try:
        execute = Execute(config=config)
    except TraitError as error:
        raise CourseError(f"nbgrader's configuration: {error}") from None
    function: Callable[[Any], Any] | None = execute.timeout_func
    if function is None:
        return _seconds(execute.timeout)
    if not callable(function):
        raise CourseError(
            f"nbgrader's configuration: timeout_func is {function!r}; write a function of a cell, in "
            "nbgrader_config.py"
        )
    return lambda cell: _seconds_by(function, cell)


def _seconds(value: float | None) -> float:
    return min(float(value), NO_LIMIT) if value is not None and value > 0 else NO_LIMIT


def _seconds_by(function: Callable[[Any], Any], cell: nbformat.NotebookNode) -> float:
    value = function(cell)
    if value is not None and (not isinstance(value, (int, float)) or math.isnan(value)):
        raise ValueError(
            f"the course's timeout_func gives {value!r} for a cell, which is no number of seconds"
        )
    return _seconds(value)


def cell_memory(config: Config) -> int:
    """Return `Examine.memory` in bytes, 0 where it is not set; raises CourseError where it is no size."""
    text = config.Examine.get("memory", "")
    try:
        return parse_size(text) if text else 0
    except (TypeError, ValueError):
        raise CourseError(
            f"nbgrader_config.py: c.Examine.memory is {text!r}; write a number and KiB, MiB or GiB, such as 6GiB"
        ) from None


def hidden_marks(config: Config) -> Marks:
    """Return between which words hidden tests stand in this course; raises CourseError where these are no texts."""
    return _marks(config, "ClearHiddenTests", "test", HIDDEN)


def scheme_marks(config: Config) -> Marks:
    """Return between which words the marking scheme of a task stands; raises CourseError as `hidden_marks`."""
    return _marks(config, "ClearMarkScheme", "mark_scheme", SCHEME)


def solution_marks(config: Config) -> Marks:
    """Return between which words solutions stand; raises CourseError as `hidden_marks`."""
    return _marks(config, "ClearSolutions", "solution", SOLUTION)


def _marks(config: Config, section: str, what: str, usual: Marks) -> Marks:
    # Read without the class: to import nbgrader's preprocessors takes seconds, and not all that ask have them.
    begin, end = (
        config[section].get(f"{side}_{what}_delimeter", word)  # nbgrader's spelling
        for side, word in zip(("begin", "end"), usual, strict=True)
    )
    for word in (begin, end):
        if not isinstance(word, str) or not word:
            raise CourseError(f"nbgrader's configuration: a delimiter of {section} is {word!r}; write a text")
    return begin, end


# --- kernels ------------------------------------------------------------------------------------------------


def refuse_other_languages(config: Config, where: str, kernels: dict[str, dict[str, Any]]) -> None:
    """Raise CourseError where one of the notebooks is not for Python, the only language that can be graded here.

    `kernels` are the kernelspecs by notebook, with what `language_info` says as `language` where they say nothing.
    """
    name = config.Execute.get("kernel_name", "") or config.ExecutePreprocessor.get("kernel_name", "")
    for notebook, spec in kernels.items():
        spec = {"name": name} if name else spec
        language = language_of(spec)
        if language != "python":
            kernel = spec.get("name", "")
            raise CourseError(
                f"{where}: {notebook}.ipynb is for the kernel {kernel or '(unnamed)'}"
                f"{f', language {language}' if language else ', of which no language is known'}; only notebooks in "
                "Python can be graded here. Take nbgrader autograde for it, or choose a Python kernel in the notebook"
            )


def language_of(spec: dict[str, Any]) -> str:
    """Return the language of a kernelspec in small letters, `python` for every Python, "" where nobody knows."""
    language, kernel = str(spec.get("language") or "").lower(), str(spec.get("name") or "").lower()
    if not language and kernel in ("python", "python3"):  # Jupyter's own, everywhere
        return "python"
    if not language and kernel:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

        try:
            language = KernelSpecManager().get_kernel_spec(kernel).language.lower()
        except NoSuchKernel:
            # Names that people give to their environments: python3, conda-env-x-py, pytorch.
            language = "python" if "py" in kernel else ""
    if not language and not kernel:
        return "python"  # nbgrader's own default, for a notebook that says nothing
    return "python" if language.startswith(("python", "ipython")) else language
