"""The mutation tool mutmut on one function of the kit, with the pool's tests of it, beside our own program.

python -m week09_experiment_tracking.evidence.peer        # some seconds; writes peer.json
"""

import ast
import inspect
import json
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from effdl import device
from week09_experiment_tracking.evidence import kit, pool

RESULT = Path(__file__).with_name("peer.json")
TESTS = (
    pool.the_warm_up_by_hand,
    pool.half_way_down_is_half_the_peak,
    pool.the_rate_rises_to_its_peak_and_falls_to_its_floor,
)


def project(folder: Path) -> None:
    """Write a project that mutmut can run: the learning rate as a package, three tests of it, the settings."""
    (folder / "schedule").mkdir()
    code = inspect.getsource(kit.learning_rate)
    (folder / "schedule" / "__init__.py").write_text(f"import math\n\n\n{code}")
    source = ast.parse(Path(pool.__file__).read_text(encoding="utf-8"))
    names = {test.__name__ for test in TESTS}
    tests = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name in names]
    for node in tests:
        node.name = f"test_{node.name}"
        node.args.args = node.args.args[1:]  # without the kit
        node.decorator_list = [
            mark for mark in node.decorator_list if not ast.unparse(mark).startswith("pool(")
        ]
    head = textwrap.dedent("""
        import itertools
        import pytest
        import schedule as kit
        from hypothesis import HealthCheck, given, settings, strategies as st

        drawn = settings(max_examples=20, deadline=None, derandomize=True, database=None,
                         suppress_health_check=list(HealthCheck))


        def close(one, two, tolerance=1e-5):
            assert one == pytest.approx(two, rel=tolerance, abs=tolerance)
    """)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_schedule.py").write_text(head + "\n".join(map(ast.unparse, tests)) + "\n")
    (folder / "pyproject.toml").write_text('[tool.mutmut]\nsource_paths = ["schedule"]\n')


def run() -> dict:
    """Run mutmut in a folder of its own: how many mutants, how many killed, how long."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        start = time.perf_counter()
        command = [sys.executable, "-m", "mutmut"]
        done = subprocess.run([*command, "run"], cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        shown = subprocess.run(
            [*command, "results", "--all", "true"], cwd=folder, capture_output=True, text=True, check=False
        )
    states = re.findall(r"__mutmut_\d+: (.+)", shown.stdout)
    if not states:
        raise RuntimeError(f"mutmut showed no mutant:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"mutants": len(states), "killed": states.count("killed"), "seconds": round(seconds, 1)}


def recorded() -> dict:
    """The recorded run."""
    return json.loads(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    about = {
        "mutmut": version("mutmut"),
        "machine": device.kind_label(),
        "date": str(date.today()),
    }
    RESULT.write_text(json.dumps(run() | about) + "\n", encoding="utf-8")
    print(RESULT.read_text())
