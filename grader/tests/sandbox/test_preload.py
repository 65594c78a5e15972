"""What a zygote imports ahead of its workers: nothing that a fork would share or break."""

import json
import os
import signal
import subprocess
import sys

import pytest

from grader.notebooks import PROGRAMS
from grader.sandbox import preload
from grader.sandbox.zygote import Zygote

PACKAGES = {
    "fine": "import fine.part",
    "fine/part": "",
    "prints": "print('hello')",
    "warns": "import sys; print('hello', file=sys.stderr)",
    "threads": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "opens": "import os\nkept = open(os.devnull)",
    "starts": "import subprocess\nchild = subprocess.Popen(['sleep', '60'])",
    "maps": "import mmap\nkept = mmap.mmap(open('/dev/zero', 'r+b').fileno(), 4096)",
    "shares": "import mmap\nkept = mmap.mmap(-1, 4096)",
    "hides": """
import mmap, tempfile
with tempfile.TemporaryFile() as file:
    file.truncate(4096)
    kept = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)  # mprotect(2) would make it writable
""",
    "moves": "import os\nos.chdir('/')",
    "handles": "import signal\nsignal.signal(signal.SIGUSR1, print)",
    "breaks": "raise ImportError",
    "exits": "import os\nos._exit(0)",
    "asks": "from IPython import get_ipython\nget_ipython()",
    "needs": "import threads",
    "also": "",
}
CODE = """
import json, sys
import IPython.core.interactiveshell
from grader.sandbox import preload
preload._is_installed = lambda spec: spec is not None
sys.path.insert(0, sys.argv[1])
print(json.dumps(preload.safe(sys.argv[2:])))
"""


def safe(folder, *modules):
    done = subprocess.run(
        [sys.executable, "-c", CODE, folder, *modules],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    for name, code in PACKAGES.items():
        package, _, part = name.partition("/")
        (folder / package).mkdir(exist_ok=True)
        (folder / package / f"{part or '__init__'}.py").write_text(code + "\n")
    return folder


BAD = [name for name in PACKAGES if name.partition("/")[0] not in ("fine", "also", "needs")]


@pytest.mark.parametrize("bad", BAD)
def test_a_package_that_leaves_something_behind_is_left_to_the_workers(packages, bad):
    assert safe(packages, "fine", bad, "fine.part") == ["fine", "fine.part"]


def test_a_package_is_not_taken_for_what_it_needs_but_those_beside_it_are(packages):
    assert safe(packages, "also", "needs", "threads", "no such name;", "fine") == ["fine", "also"]


def test_nothing_is_taken_that_hangs(packages, tmp_path, monkeypatch):
    (tmp_path / "hangs.py").write_text("while True: pass\n")
    code = CODE.replace("preload._is", "preload.SECONDS = 1\npreload._is")
    command = [sys.executable, "-c", code, tmp_path, "hangs"]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout) == []


def test_a_module_beside_a_notebook_is_none_that_is_installed(tmp_path, monkeypatch):
    (tmp_path / "colorsys_of_mine.py").write_text("import colorsys\n")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("colorsys", None)
    known = set(sys.modules)
    import colorsys_of_mine

    assert colorsys_of_mine.__name__ in sys.modules
    assert preload.imported_since(known) == ["colorsys"]


def ask(code, *arguments):
    command = [sys.executable, "-I", "-c", "import json, sys\nfrom grader.sandbox import preload\n" + code]
    done = subprocess.run(
        [*command, *arguments], check=True, capture_output=True, text=True, timeout=120, cwd=arguments[0]
    )
    return json.loads(done.stdout)


PUT_FIRST = "sys.path[:0] = ['', sys.argv[1]]\n"


def test_no_module_is_imported_ahead_that_lies_beside_the_course_or_in_a_submission(tmp_path):
    (tmp_path / "sorting.py").write_text("open('came', 'w').close()\n")
    (tmp_path / "colorsys.py").write_text(
        "open('came', 'w').close()\n"
    )  # has the name of one of Python's own
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.py").write_text("open('came', 'w').close()\n")
    wanted = "['sorting', 'colorsys', 'folder.inner', 'folder', 'wave']"
    assert ask(PUT_FIRST + f"print(json.dumps(preload.safe({wanted})))", tmp_path) == ["wave"]
    code = f"preload.load({wanted}); print(json.dumps([name for name in {wanted} if name in sys.modules]))"
    assert ask(PUT_FIRST + code, tmp_path) == ["wave"]
    assert not (tmp_path / "came").exists()


def test_a_package_that_is_installed_is_not_taken_where_it_imports_from_another_folder(tmp_path):
    (tmp_path / "chunk.py").write_text("")
    code = "sys.modules.pop('chunk', None)\nprint(json.dumps(preload.safe(['aifc', 'wave'])))"
    assert ask(code, tmp_path) == ["wave", "aifc"]
    assert ask(PUT_FIRST + code, tmp_path) == ["wave"]


def test_a_link_from_the_packages_to_another_folder_is_followed(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "course.py").write_text("")
    (tmp_path / "packages" / "linked.py").symlink_to(tmp_path / "course.py")
    code = "preload._folders = lambda: (sys.argv[1] + '/packages/',)\nsys.path.insert(0, sys.argv[1] + '/packages')\n"
    assert ask(code + "print(json.dumps(preload.safe(['linked'])))", str(tmp_path)) == []


def test_a_module_beside_a_notebook_is_found_before_one_of_its_name_that_was_imported_ahead(tmp_path):
    (tmp_path / "wave.py").write_text("theirs = True\n")
    (tmp_path / "colorsys").mkdir()  # no package
    code = """
before = set(sys.modules)
preload.load(["wave", "colorsys"])
sys.path.insert(0, sys.argv[1])
preload.give_way(sys.argv[1])
import wave, colorsys
print(json.dumps([hasattr(wave, "theirs"), hasattr(colorsys, "rgb_to_hls"), "json" in sys.modules]))
"""
    assert ask(code, tmp_path) == [True, True, True]


def test_what_was_imported_ahead_for_another_notebook_is_told_where_its_package_is_imported_again(tmp_path):
    code = """
preload.load(["wave", "colorsys", "xml.dom.minidom"])
known = set(sys.modules)
with preload.noting_imports() as packages:
    import colorsys
    from xml import sax
    import json
told = preload.imported_since(known, packages)
mine = [name for name in told if name in ("wave", "colorsys", "xml.dom.minidom", "json")]
print(json.dumps([mine, "xml.sax" in told]))
"""
    found, new = ask(code, tmp_path)
    assert sorted(found) == ["colorsys", "xml.dom.minidom"]
    assert new


def test_a_zygote_whose_modules_leave_a_thread_starts_again_without_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # As if this repository was installed with Python.
    zygote = Zygote(programs={**PROGRAMS, "takes all": "grader.tests.sandbox.takes_all:serve"})
    try:
        zygote.preload(["colorsys", "no_such_module_at_all", "no\nname"])
        first = zygote.pid
        assert "colorsys" in zygote._modules
        assert os.readlink(f"/proc/{first}/cwd") == "/"
        zygote.preload(["grader.tests.sandbox.starts_a_thread"])
        assert zygote.pid != first
        zygote.wait()
        with open(f"/proc/{zygote.pid}/maps") as maps:
            assert not [line for line in maps if line.split()[1] == "rw-s"]
    finally:
        zygote.close()


def test_a_zygote_that_somebody_has_killed_is_asked_for_modules_all_the_same():
    zygote = Zygote(programs=PROGRAMS)
    try:
        zygote.wait()
        os.kill(zygote.pid, signal.SIGKILL)
        assert zygote.safe(["wave"]) == []
        zygote.preload(["colorsys"])
        zygote.wait()
        assert zygote.safe(["wave"]) == ["wave"]
    finally:
        zygote.close()
