"""What of a GPU a job gets, and who holds it: with nodes that do no harm, real processes, and real kills."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from grader.examine.cards import Cards
from grader.examine.checks import Check
from grader.examine.submission import Submission
from grader.sandbox import gpu
from grader.sandbox.build import SandboxError
from grader.sandbox.lease import Locks
from grader.sandbox.packed import Packed
from grader.tests.fake_gpus import GRADER, FakeGpus, build_library, uuid

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    path = build_library(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(path))  # the binding then finds it by its name
    return path


@pytest.fixture
def fake(library, tmp_path, monkeypatch) -> FakeGpus:
    fake = FakeGpus(tmp_path)
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


@pytest.fixture
def cards(fake) -> Cards:
    return Cards(locks=Locks(fake.folder / "locks"), **fake.options)


@pytest.fixture
def run_on(examiner, tmp_path):
    """Run `work:run` of a text on a leased card, as a check would."""
    packs = []

    def run(card, code, *args, wall=20.0, function="call", **options):
        folder = tmp_path / f"work{len(packs)}"
        folder.mkdir()
        (folder / "work.py").write_text(code)
        packs.append(Packed(folder, ["work.py"]))
        check = Check("c", "item", 1.0, wall, None, "", "", False, "S.", lambda sub: None)
        sub = Submission(examiner.place, packs[-1], check, driver=None, memory=1 << 30, seed=1, card=card)
        return getattr(sub, function)("work:run", *args, **options)

    yield run
    for packed in packs:
        packed.close()


LOOKS = """
import errno, os, stat

def attempt(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # the listing's own
        return ""

def run():
    own = "/tmp/nvidia1"
    pages = "/proc/driver/nvidia"
    seen = {
        "nodes": sorted(name for name in os.listdir("/dev") if name.startswith("nvidia")),
        "opens its own": attempt(lambda: os.close(os.open("/dev/nvidia0", os.O_RDWR))),
        "opens another's": attempt(lambda: os.open("/dev/nvidia1", os.O_RDWR)),
        "makes another's": attempt(lambda: os.mknod(own, 0o666 | stat.S_IFCHR, os.makedev(10, 229))),
        "reads another's page": attempt(lambda: open(pages + "/gpus/0000:02:00.0/information")),
        "pages": sorted(os.listdir(pages)) + os.listdir(pages + "/gpus"),
        "reads its own page": open(pages + "/gpus/0000:01:00.0/information").read().split(),
        "parameters": open(pages + "/params").read().split(),
        "writes a page": attempt(lambda: open(pages + "/params", "w")),
        "makes a page": attempt(lambda: os.mkdir(pages + "/gpus/0000:02:00.0")),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "descriptors": [link(fd) for fd in os.listdir("/proc/self/fd")],
        "drivers": os.listdir("/proc/driver"),
    }
    return seen
"""


@pytest.mark.skipif(not os.path.isdir("/proc/driver"), reason="this kernel has no /proc/driver")
def test_a_job_sees_its_own_gpu_and_nothing_of_another_one(cards, run_on):
    with cards.lease() as card:
        assert card.device.uuid == uuid(0)
        seen = run_on(card, LOOKS).result
    assert seen["nodes"] == ["nvidia-uvm", "nvidia0", "nvidiactl"]
    assert seen["opens its own"] == "done"
    assert seen["opens another's"] == "ENOENT"
    assert seen["makes another's"] == "EPERM"
    assert seen["reads another's page"] == "ENOENT"
    assert seen["pages"] == ["gpus", "params", "version", "0000:01:00.0"]
    assert seen["reads its own page"] == ["Model:", "Stand-in", "Device", "Minor:", "0"]
    assert seen["parameters"][:2] == ["ModifyDeviceFiles:", "0"]  # CUDA would else try to make nodes
    assert {seen["writes a page"], seen["makes a page"]} <= {"EROFS", "EACCES"}
    assert seen["visible"] == uuid(0)
    assert not [name for name in seen["descriptors"] if "lock" in name]  # who has it can unlock it
    assert seen["drivers"] == ["nvidia"]


def test_a_job_without_a_gpu_sees_none(run_on):
    seen = run_on(
        None,
        "import os\ndef run():\n    return [os.environ['CUDA_VISIBLE_DEVICES'], "
        "[n for n in os.listdir('/dev') if 'nvidia' in n], os.path.exists('/proc/driver/nvidia')]",
    ).result
    assert seen == ["", [], False]


def test_a_node_that_came_in_by_mistake_cannot_be_opened(cards, run_on, examiner):
    """The second wall: the control group's list, where the kernel lets us have one."""
    probe = examiner.place.cgroups.create(memory=1 << 28, processes=8, cpus=1, allowed=[(1, 3)])
    lists, _ = probe.lists_devices, probe.remove()
    if not lists:
        pytest.skip("this kernel lets nobody limit devices")

    class Leaky(gpu.Gpu):
        def allowed(self):
            return [one for one in super().allowed() if one != (10, 229)]

    with cards.lease() as card:
        right = card.gpu
        dev = right.nodes[0][0].rpartition("/")[0]
        card.gpu = Leaky(**{**vars(right), "nodes": [*right.nodes, [f"{dev}/nvidia1", "/dev/nvidia1"]]})
        seen = run_on(card, LOOKS).result
    assert seen["opens its own"] == "done"
    assert "nvidia1" in seen["nodes"]
    assert seen["opens another's"] == "EPERM"


def test_peak_memory_of_a_job_is_read_from_outside_and_less_what_rest_takes(fake, cards, run_on):
    def use(mib: int) -> None:
        fake.used[0] = 4 + mib
        fake.tell()

    with cards.lease() as card:
        for most in (300, 100):  # the second job's is its own
            steps = [threading.Timer(seconds, use, [mib]) for seconds, mib in ((0.3, most), (0.6, 0))]
            for step in steps:
                step.start()
            found = run_on(card, "import time\ndef run():\n    time.sleep(1)")
            assert found.peak_gpu_memory == most << 20
        assert run_on(card, "def run():\n    return 1").peak_gpu_memory == 0
    assert run_on(None, "def run():\n    return 1").peak_gpu_memory is None


@pytest.mark.parametrize(
    ("leftover", "says"),
    [
        (
            {"processes": [(0, 4242, 10)]},
            "has processes that nobody leased it to: 4242 after a job has ended",
        ),
        ({"used": {0: 500, 1: 4}}, "holds 496 MiB of memory that no process owns after a job has ended"),
    ],
)
def test_a_gpu_that_a_job_left_unclean_gets_no_more_jobs(fake, cards, run_on, monkeypatch, leftover, says):
    monkeypatch.setattr("grader.examine.cards.CLEAN_WITHIN", 0.3)

    def leave_it() -> None:
        with cards.lease() as card:
            run_on(card, "def run():\n    return 1")
            for name, value in leftover.items():
                setattr(fake, name, value)
            fake.tell()

    with pytest.raises(SandboxError, match=says):
        leave_it()
    with cards.lease(0) as card:  # the other one
        assert card.device.uuid == uuid(1)
        # Clean again it may be, but somebody must look.
        fake.used, fake.processes = {0: 4, 1: 4}, []
        fake.tell()
        with pytest.raises(SandboxError, match=r"Stand-in.*another grader's"), cards.lease(0):
            raise AssertionError
    out = fake.folder / "locks" / f"{uuid(0)}.out"
    assert says in out.read_text()
    assert f"deletes {out}" in out.read_text()
    out.unlink()
    with cards.lease(0) as card:
        assert card.device.uuid == uuid(0)


def test_a_gpu_that_is_dirty_between_two_jobs_of_one_lease_stops_the_second(fake, cards, run_on, monkeypatch):
    monkeypatch.setattr("grader.examine.cards.CLEAN_WITHIN", 0.3)
    with cards.lease() as card:
        run_on(card, "def run():\n    return 1")
        fake.processes = [(0, 77, 10)]
        fake.tell()
        with pytest.raises(SandboxError, match="gets no more jobs until"):
            run_on(card, "def run():\n    raise SystemExit('this must not run')")
        fake.processes = []
        fake.tell()


def test_a_gpu_where_somebody_computes_is_passed_over_and_stays_in_service(fake, cards):
    fake.processes = [(0, 4242, 10)]
    fake.tell()
    with cards.lease(0) as card:
        assert card.device.uuid == uuid(1)
        with pytest.raises(
            SandboxError, match=r"came free within 0 s: GPU 0 .* 4242; GPU 1 .* another grader's"
        ):
            cards.lease(0).__enter__()
    assert not list((fake.folder / "locks").glob("*.out"))


def test_a_scheduler_s_choice_of_gpus_is_kept(cards, monkeypatch):
    for visible, found in (("1", 1), (uuid(1), 1), ("0,1", 0), ("GPU-00000001", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with cards.lease(0) as card:
            assert card.device.uuid == uuid(found)
    for visible in ("", "7", "GPU-none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(SandboxError, match="CUDA_VISIBLE_DEVICES names none"), cards.lease(0):
            raise AssertionError


def test_gpus_that_no_job_can_have_are_said_so(fake, cards):
    fake.mig = 1
    fake.tell()
    with pytest.raises(SandboxError, match=r"cut into slices \(MIG\)"), cards.lease(0):
        raise AssertionError
    fake.mig = -1
    fake.tell()
    node = fake.folder / "dev" / "nvidia0"
    node.chmod(0o660)
    good, bad = cards.usable()
    assert [device.uuid for device, _ in good] == [uuid(1)]
    assert bad[0].endswith(f"chmod 666 {node}")
    (fake.folder / "dev" / "nvidia-uvm").unlink()
    assert "nvidia-uvm is missing; run nvidia-modprobe" in cards.usable()[1][1]


def test_a_library_without_a_driver_is_said_in_a_sentence(fake, monkeypatch):
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    with pytest.raises(SandboxError, match="no GPU of NVIDIA's can be used here: Driver Not Loaded"):
        Cards(locks=Locks(fake.folder / "locks"))


def test_locks_are_refused_in_a_strangers_folder(tmp_path):
    (tmp_path / "locks").mkdir()
    os.chown(tmp_path / "locks", 12345, 12345)
    with pytest.raises(SandboxError, match="not a folder of root's or of yours"):
        Locks(tmp_path / "locks")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SandboxError, match="not a folder of root's or of yours"):
        Locks(tmp_path / "link")
    with pytest.raises(SandboxError, match="no name of a GPU"):
        Locks(tmp_path / "own").try_lease("../../etc/x")


class Grader:
    """Another grader, in a process of its own."""

    def __init__(self, fake, library, code, wait=0.0):
        folder = fake.folder / f"grader{time.monotonic_ns()}"
        folder.mkdir()
        (folder / "work.py").write_text(code)
        (folder / "another.py").write_text(GRADER)
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "LD_LIBRARY_PATH": str(library.parent),
            "FAKE_NVML": str(fake.state),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "another.py"), str(fake.folder), str(folder), str(wait)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def line(self) -> str:
        return self.process.stdout.readline().strip()


def processes_with(path: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            folder = f"/proc/{process.pid}/fd"
            if any(os.readlink(f"{folder}/{name}") == str(path) for name in os.listdir(folder)):
                found.append(process.pid)
        except OSError:
            continue
    return found


@pytest.mark.drawn(4)
def test_a_killed_grader_frees_its_gpu_and_a_frozen_job_of_it_keeps_it(fake, library, cards):
    """Two graders on one machine never share a GPU, not even while the job of a killed one lives on."""
    locks = cards.locks
    # Not for ever asleep: who uses no processor stands still, and is ended.
    sleeps = "import time\ndef run():\n    while True:\n        time.sleep(0.02), sum(range(9999))"
    first = Grader(fake, library, sleeps)
    second = Grader(fake, library, sleeps)
    try:
        taken = {first.line(), second.line()}
        assert taken == {f"leased {uuid(0)}", f"leased {uuid(1)}"}
        with pytest.raises(SandboxError, match="no GPU came free within 0 s"), cards.lease(0):
            raise AssertionError
        files = {grader: lock_of(fake, grader) for grader in (first, second)}
        for grader, path in files.items():
            end = time.monotonic() + 20
            while len(holders := processes_with(path)) < 3 and time.monotonic() < end:
                time.sleep(0.05)
            # The grader, the leader, and the rank's first process: not the zygote, not the worker.
            assert len(holders) == 3
            assert grader.process.pid in holders
        group = frozen_group(first, True)
        for grader in (first, second):
            grader.process.kill()
            grader.process.wait(20)
        assert comes_free(locks, files[second])
        if group:
            time.sleep(0.5)
            assert locks.try_lease(files[first].stem) is None
            frozen_group(first, False)
        assert comes_free(locks, files[first])
        assert not list((fake.folder / "locks").glob("*.out"))
    finally:
        frozen_group(first, False)
        for grader in (first, second):
            grader.process.kill()
            grader.process.wait(20)


def lock_of(fake, grader) -> Path:
    paths = (fake.folder / "locks").glob("*.lock")
    return next(path for path in paths if grader.process.pid in processes_with(path))


def frozen_group(grader, frozen) -> bool:
    """Freeze or thaw the jobs of a grader; False where this kernel cannot keep a killed process frozen."""
    groups = list(Path("/sys/fs/cgroup").glob(f"**/grader-{grader.process.pid}-*/freezer.state"))
    for group in groups:
        group.write_text("FROZEN" if frozen else "THAWED")
    return bool(groups)


def comes_free(locks, path) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if (lease := locks.try_lease(path.stem)) is not None:
            lease.close()
            return True
        time.sleep(0.05)
    return False


def test_a_zygote_in_which_cuda_has_begun_forks_no_more(tmp_path):
    (tmp_path / "0").symlink_to("/dev/null")
    assert gpu.opened(str(tmp_path)) == []
    (tmp_path / "7").symlink_to("/dev/nvidiactl")
    assert gpu.opened(str(tmp_path)) == ["/dev/nvidiactl"]


def test_libraries_of_the_driver_outside_of_usr_are_bound_and_no_others(tmp_path):
    told = f"""3 libs found in cache `/etc/ld.so.cache'
\tlibcuda.so.1 (libc6,x86-64) => {tmp_path}/libcuda.so.1
\tlibnvidia-ptxjitcompiler.so.1 (libc6,x86-64) => /usr/lib/libnvidia-ptxjitcompiler.so.1
\tlibm.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libm.so.6
"""
    real = tmp_path / "libcuda.so.999"
    real.write_bytes(b"")
    (tmp_path / "libcuda.so.1").symlink_to(real)
    paths = gpu.libraries(told)
    assert paths == [f"{tmp_path}/libcuda.so.1", "/usr/lib/libnvidia-ptxjitcompiler.so.1"]
    assert gpu.outside(paths) == [f"{tmp_path}/libcuda.so.1", str(real)]


def test_a_library_of_the_driver_elsewhere_can_be_read_in_the_sandbox(cards, run_on, tmp_path):
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").write_text("the driver")
    path = str(driver / "libcuda.so.1")
    with cards.lease() as card:
        card.gpu = replace(card.gpu, libraries=[path])
        code = f"def run():\n    return open({path!r}).read()"
        assert run_on(card, code).result == "the driver"
