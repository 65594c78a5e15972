"""Container images: built for real where an engine runs, out of what is on this machine, with no registry.

The engine is buildah. It runs as root in `chroot` isolation, so that it works inside another container too, and
keeps everything in a temporary folder that goes with it. The base images hold this machine's own Python and the
libraries it is linked to; `wheelhouse` turns installed packages back into wheels, which take the place of an index.
"""

import base64
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

from effdl.data import cache_folder

SOURCE = Path(__file__).with_name("container")
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
NOT_SLIM = ("config-*", "ensurepip", "idlelib", "lib2to3", "pydoc_data")
"""Parts of a Python installation that only compiling and learning need: static library, bundled pip, editor."""

NEVER = ("site-packages", "dist-packages", "test", "tests", "tkinter", "turtledemo", "_tkinter*")
SECRET = "TOKEN=not-a-real-secret\n"
DEADLINE = 300  # seconds for one command of the engine: it only ends a hang


class EngineError(RuntimeError):
    """The engine did not do what it was asked for; the message holds the end of its output."""


@dataclass(frozen=True)
class Layer:
    """One layer of an image: the instruction that made it, its bytes as a tar file, whether a text is in it."""

    instruction: str
    nbytes: int
    holds: bool = False


class Engine:
    """buildah with a storage of its own. Use :func:`engine`, which also removes it."""

    def __init__(self, folder: Path, driver: str):
        self.folder, self.driver = folder, driver

    def _run(self, *words: str) -> str:
        command = ["buildah", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"]
        # Ours is the only user of this storage, so what other engines have set up here does not matter.
        environment = os.environ | {"STORAGE_DRIVER": self.driver, "BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, timeout=DEADLINE, env=environment, check=False
        )
        if done.returncode:
            raise EngineError(f"buildah {words[0]} failed: {(done.stdout + done.stderr)[-600:]}")
        return done.stdout

    def build(
        self, context: Path, tag: str, dockerfile: str = "Dockerfile", wheels: Path | None = None
    ) -> float:
        """Build an image with the cache of layers; returns seconds. Raises EngineError if an instruction fails."""
        volume = ["--volume", f"{wheels}:/wheels:ro"] if wheels else []
        words = [
            "bud",
            "--layers",
            "--network",
            "none",
            *volume,
            "--tag",
            tag,
            "--file",
            str(context / dockerfile),
        ]
        began = time.perf_counter()
        self._run(*words, str(context))
        return time.perf_counter() - began

    def layers(self, tag: str, text: str = "") -> list[Layer]:
        """The layers of an image from the first to the last, and whether a text stands in the files of each."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            self._run("push", "--disable-compression", tag, f"dir:{folder}")
            manifest, config = described(Path(folder))
            made = [step["created_by"] for step in config["history"] if not step.get("empty_layer")]
            tars = [Path(folder, part["digest"].partition(":")[2]) for part in manifest["layers"]]
            return [
                Layer(
                    _readable(instruction),
                    tar.stat().st_size,
                    bool(text) and text.encode() in tar.read_bytes(),
                )
                for instruction, tar in zip(made, tars, strict=True)
            ]

    def run(self, tag: str, *command: str) -> str:
        """What a command prints that runs in a new container of an image, with no network."""
        name = self._run("from", "--pull-never", tag).strip()
        try:
            return self._run("run", "--network", "none", name, "--", *command)
        finally:
            self._run("rm", name)


def described(folder: Path) -> tuple[dict, dict]:
    """Manifest and configuration of an image that was written to a folder: what is in it, and how it was made."""
    manifest = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    config = Path(folder, manifest["config"]["digest"].partition(":")[2])
    return manifest, json.loads(config.read_text(encoding="utf-8"))


def _readable(instruction: str) -> str:
    """The history's words for an instruction, without the shell around it and the digests of what was copied."""
    words = re.sub(r"^/bin/sh -c (#\(nop\) )?", "", instruction)
    words = re.sub(r"(dir|file|multi):[0-9a-f]{20,} in", "...", words)
    return (words if words.startswith(("COPY", "ADD")) else f"RUN {words}").strip()


@contextlib.contextmanager
def engine() -> Iterator[Engine | None]:
    """An engine that has just built a small image, or None where there is none; nothing of it is left afterwards."""
    pip = importlib.util.find_spec("pip")
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("buildah") or not pip:
        yield None
        return
    with tempfile.TemporaryDirectory(
        dir=cache_folder(), prefix="images-", ignore_cleanup_errors=True
    ) as name:
        try:
            yield _first_that_builds(Path(name))
        finally:
            _unmount(Path(name))


def _first_that_builds(folder: Path) -> Engine | None:
    probe = folder / "probe"
    for path in [Path("/bin/sh"), *_libraries([Path("/bin/sh")])]:
        _copy(path, probe / "root" / str(path).lstrip("/"))
    steps = "FROM scratch\nCOPY root /\nENV PATH=/bin\nRUN echo built > /it-runs\n"
    (probe / "Dockerfile").write_text(steps, encoding="utf-8")
    for driver in ("overlay", "vfs"):
        found = Engine(folder / driver, driver)
        with contextlib.suppress(EngineError, subprocess.TimeoutExpired):
            found.build(probe, "probe")
            return found
    return None


def _unmount(folder: Path) -> None:
    """Detach what the engine has mounted below a folder: a build that failed leaves its last layer there."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        places = [line.split()[1] for line in file]
    for place in sorted((p for p in places if Path(p).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def python_bases(engine: Engine, folder: Path) -> None:
    """Build `python-slim` from this machine's Python and pip, and `python-full` on top of it, which can compile."""
    home, root = Path(sys.base_prefix, "bin"), folder / "slim/root"
    _python(root)
    site = root / sysconfig.get_path("purelib", vars={"base": sys.base_prefix}).lstrip("/")
    pip = metadata.distribution("pip")
    for file in pip.files or []:
        if ".." not in file.parts and (path := Path(str(pip.locate_file(file)))).is_file():
            _copy(path, site / str(file))
    library = Path(sysconfig.get_path("stdlib"))
    extra = folder / "full/root" / str(library).lstrip("/")
    for part in library.glob("config-*"):
        shutil.copytree(part, extra / part.name, copy_function=_copy)
    extra.mkdir(parents=True, exist_ok=True)
    path = f"ENV PATH={home}:/bin:/usr/bin HOME=/tmp"
    (folder / "slim/Dockerfile").write_text(f"FROM scratch\nCOPY root /\n{path}\n", encoding="utf-8")
    (folder / "full/Dockerfile").write_text("FROM python-slim\nCOPY root /\n", encoding="utf-8")
    for kind in ("slim", "full"):
        engine.build(folder / kind, f"python-{kind}")
        shutil.rmtree(folder / kind)


def _python(root: Path) -> None:
    """The interpreter, its standard library, a shell, and every library that these are linked to."""
    program = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    program = Path(os.path.realpath(program if program.exists() else sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    ignore = shutil.ignore_patterns(*NEVER, *NOT_SLIM)
    inside = root / str(library).lstrip("/")
    shutil.copytree(library, inside, symlinks=True, ignore=ignore, copy_function=_copy)
    linked = [Path("/bin/sh"), Path(shutil.which("rm") or "/bin/rm"), program]
    modules = [
        path for path in (library / "lib-dynload").glob("*.so") if not path.name.startswith("_tkinter")
    ]
    for name in requirements():
        # Wheels are linked to libraries that every distribution's image has: the C and C++ runtime.
        files = metadata.distribution(name).files or []
        modules += [Path(str(file.locate())) for file in files if file.suffix == ".so"]
    for path in [*linked, *_libraries([*linked, *modules])]:
        _copy(path, root / str(path).lstrip("/"))
    for name in (program.name, "python3"):
        place = root / str(Path(sys.base_prefix, "bin", name)).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(program)
    (root / "tmp").mkdir(mode=0o1777)


def _copy(source: str | Path, target: str | Path) -> None:
    """A second name for a file, which only the engine reads; a copy where the file system has no such thing."""
    source, target = os.path.realpath(source), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _libraries(programs: Sequence[Path]) -> list[Path]:
    """The shared libraries that some programs and libraries are linked to, as `ldd` finds them on this machine."""
    listed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    found = sorted(set(re.findall(r"^\s.*?(/\S+) \(0x", listed, re.MULTILINE)))
    return [Path(name) for name in found if "/site-packages/" not in name]


def requirements(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of some packages and of all that they need, as a lock file would pin them."""
    todo, found = list(names), {}
    while todo:
        known = metadata.distribution(todo.pop())
        name = known.metadata["Name"].lower().replace("_", "-")
        if name not in found:
            found[name] = known.version
            wanted = [Requirement(line) for line in known.requires or []]
            todo += [w.name for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})]
    return dict(sorted(found.items()))


def wheelhouse(folder: Path, names: Sequence[str]) -> None:
    """Write a wheel for each installed package: a zip file of what its RECORD lists, and a RECORD of that."""
    for name in names:
        known = metadata.distribution(name)
        tag = re.search(r"^Tag: (.+)$", known.read_text("WHEEL") or "", re.MULTILINE)
        stem = f"{known.metadata['Name'].replace('-', '_').lower()}-{known.version}"
        info, lines = f"{stem}.dist-info", []
        wheel = zipfile.ZipFile(
            folder / f"{stem}-{tag[1] if tag else 'py3-none-any'}.whl", "w", compresslevel=1
        )
        with wheel:
            for file in known.files or []:
                path = Path(str(known.locate_file(file)))
                inside = "/".join(info if part.endswith(".dist-info") else part for part in file.parts)
                skip = (
                    ".." in file.parts
                    or file.suffix == ".pyc"
                    or file.name in ("RECORD", "INSTALLER", "REQUESTED")
                )
                if skip or not path.is_file():
                    continue
                content = path.read_bytes()
                wheel.writestr(inside, content)
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                lines.append(f"{inside},sha256={digest},{len(content)}\n")
            wheel.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")


@functools.cache
def weights() -> np.ndarray:
    """(10, 65) of float64: ridge regression on scikit-learn's digits, a row for each digit, the bias last."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.hstack([bunch.data / 16, np.ones((len(bunch.data), 1))])[:1500]
    wanted = np.eye(10)[bunch.target[:1500]]
    return np.linalg.solve(pixels.T @ pixels + np.eye(65), pixels.T @ wanted).T


def context(folder: Path, ignore: bool, bulk: bool = True) -> Path:
    """A repository as people have them: the app, and a history, data and a secret beside it; returns its folder.

    Args:
        ignore: whether a .dockerignore keeps out what the image does not need.
        bulk: whether history, data and secret are there.
    """
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "dockerignore"))
    pinned = [f"{name}=={version}\n" for name, version in requirements().items()]
    (folder / "requirements.txt").write_text("".join(pinned), encoding="utf-8")
    (folder / "weights.json").write_text(json.dumps(weights().round(4).tolist()), encoding="utf-8")
    if ignore:
        shutil.copy(SOURCE / "dockerignore", folder / ".dockerignore")
    if not bulk:
        return folder
    random = np.random.default_rng(0)
    for name, nbytes in {".git/objects/pack": 4_000_000, "data/photographs.bin": 6_000_000}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(random.bytes(nbytes))
    (folder / "secret.env").write_text(SECRET, encoding="utf-8")
    return folder


def change(context: Path) -> None:
    """Edit the app by one comment, as a developer does forty times a day."""
    with open(context / "app.py", "a", encoding="utf-8") as file:
        file.write(f"\n# {time.time_ns()}\n")


@dataclass(frozen=True)
class Trial:
    """Two Dockerfiles for one app, built for real.

    `first` and `again` are seconds by image: with an empty cache, and after a change of one line, round by round.
    `layers` holds what is in each image, from its base on; `user` is the user id of the good image's program.
    """

    driver: str
    first: dict[str, float]
    again: dict[str, list[float]]
    layers: dict[str, list[Layer]]
    user: int

    def nbytes(self, image: str) -> int:
        """Bytes of all layers: what a machine that has none of them fetches, before compression."""
        return sum(layer.nbytes for layer in self.layers[image])

    def secrets(self, image: str) -> list[str]:
        """The instructions of the layers that hold the secret, deleted or not."""
        return [layer.instruction for layer in self.layers[image] if layer.holds]


IMAGES = {"bad": ("Dockerfile.bad", False), "good": ("Dockerfile", True)}
"""The Dockerfile of each image, and whether its context has a .dockerignore."""


def trial(engine: Engine, rounds: int = 3) -> Trial:
    """Build both images, and again after each change of one line, in interleaved rounds; some twenty seconds."""
    with tempfile.TemporaryDirectory(dir=engine.folder.parent) as name:
        folder = Path(name)
        python_bases(engine, folder)
        wheels = folder / "wheels"
        wheels.mkdir()
        wheelhouse(wheels, list(requirements()))
        contexts = {image: context(folder / image, ignore) for image, (_, ignore) in IMAGES.items()}

        def build(image: str) -> float:
            return engine.build(contexts[image], image, IMAGES[image][0], wheels)

        first = {image: build(image) for image in contexts}
        again: dict[str, list[float]] = {image: [] for image in contexts}
        for turn in range(rounds):
            for image in list(contexts) if turn % 2 == 0 else list(contexts)[::-1]:
                change(contexts[image])
                again[image].append(build(image))
        layers = {image: engine.layers(image, SECRET) for image in contexts}
        user = int(engine.run("good", "python3", "-c", "import os, app; print(os.getuid())"))
    return Trial(engine.driver, first, again, layers, user)


def reused(steps: Sequence[tuple[str, str]], before: Sequence[tuple[str, str]]) -> int:
    """How many steps of a build come out of the cache.

    Args:
        steps: for each instruction its text, and a digest of the files that it reads ("" if none).
        before: the same of the build that filled the cache.

    A layer is a difference to the layers below it. So a step is reused if it is equal and all before it were reused.
    """
    count = 0
    for now, then in zip(steps, before, strict=False):
        if now != then:
            break
        count += 1
    return count
