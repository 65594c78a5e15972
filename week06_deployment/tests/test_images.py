"""Images: what the cache reuses, wheels that install, and an engine that builds and leaves nothing."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week06_deployment import images

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12")), max_size=8)


@given(STEPS, STEPS)
def test_a_step_is_reused_only_below_equal_steps(steps, before):
    count = images.reused(steps, before)
    assert steps[:count] == before[:count]
    assert count in (len(steps), len(before)) or steps[count] != before[count]


def test_the_good_dockerfile_installs_before_it_copies_what_changes_and_the_bad_one_after():
    def places(name):
        lines = (images.SOURCE / name).read_text().splitlines()
        install = next(k for k, line in enumerate(lines) if "pip install" in line)
        copy = next(k for k, line in enumerate(lines) if line.startswith(("COPY . .", "COPY app.py")))
        return install, copy

    install, copy = places("Dockerfile")
    assert install < copy
    install, copy = places("Dockerfile.bad")
    assert install > copy


def test_the_good_dockerfile_is_not_root_and_starts_its_program_without_a_shell():
    lines = (images.SOURCE / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert any(line.startswith("CMD [") for line in lines)


def test_a_context_with_an_ignore_file_hides_the_secret_and_one_without_does_not(tmp_path):
    good, bad = images.context(tmp_path / "good", True), images.context(tmp_path / "bad", False)
    allowed = (good / ".dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert {line[1:] for line in allowed[1:]} == {"requirements.txt", "weights.json", "app.py"}
    assert (good / "secret.env").exists()
    assert not (bad / ".dockerignore").exists()


def test_the_lock_file_holds_what_its_packages_need():
    pinned = images.requirements()
    assert {"fastapi", "uvicorn", "prometheus-client", "starlette", "pydantic-core", "h11"} <= set(pinned)


def test_a_wheel_made_of_an_installed_package_installs_and_runs(tmp_path):
    images.wheelhouse(tmp_path, ["click"])
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        record = next(name for name in names if name.endswith("/RECORD"))
        listed = {line.split(",")[0] for line in file.read(record).decode().splitlines()}
    assert listed == set(names)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", str(tmp_path)]
    done = subprocess.run([*pip, "--target", str(tmp_path / "out"), "click"], capture_output=True, text=True)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr
    program = "import sys; sys.path.insert(0, sys.argv[1]); import click; print(click.__file__)"
    command = [sys.executable, "-I", "-c", program, str(tmp_path / "out")]
    assert str(tmp_path) in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def mounts():
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if "images-" in line]


@pytest.fixture(scope="module")
def engine():
    with images.engine() as found:
        if not found:
            pytest.skip("no engine that can build here: it needs buildah, root and Linux")
        yield found


def small(folder, *steps):
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("TOKEN=1")
    (folder / "Dockerfile").write_text("\n".join(["FROM probe", *steps]) + "\n")
    return folder


def test_a_deleted_file_stays_in_the_layer_that_brought_it(engine, tmp_path):
    engine.build(small(tmp_path / "c", "COPY file /file", "RUN : > /file"), "deleted")
    layers = engine.layers("deleted", "TOKEN=1")
    assert [layer.holds for layer in layers[-2:]] == [True, False]
    assert layers[-1].instruction.startswith("RUN")
    assert all(layer.nbytes > 0 for layer in layers)


def test_a_program_in_the_image_runs_and_a_step_that_fails_says_so(engine, tmp_path):
    engine.build(small(tmp_path / "c", "RUN echo yes > /yes"), "runs")
    assert engine.run("runs", "sh", "-c", "read word < /yes; echo $word").strip() == "yes"
    with pytest.raises(images.EngineError, match="exit status 3"):
        engine.build(small(tmp_path / "c", "RUN exit 3"), "fails")


def test_an_engine_leaves_no_mount_and_no_folder_behind_even_after_a_failure(tmp_path):
    before = mounts()
    with images.engine() as found:
        if not found:
            pytest.skip("no engine that can build here: it needs buildah, root and Linux")
        folder = found.folder
        with pytest.raises(images.EngineError):
            found.build(small(tmp_path / "c", "RUN exit 3"), "fails")
    assert not folder.exists()
    assert mounts() == before
