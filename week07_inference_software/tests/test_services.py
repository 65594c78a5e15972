"""What `make services` starts of this week answers, and is gone after Ctrl-C."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("onnx", reason="needs requirements-week07.txt")
pytest.importorskip("openvino", reason="needs requirements-week07.txt")
from effdl.processes import still_alive
from week07_inference_software import serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.drawn(4)
def test_services_of_the_week_answer_and_nothing_is_left_after_ctrl_c():
    process = subprocess.Popen(
        [sys.executable, "-m", "effdl.services", "week07"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    addresses = re.findall(r"http://\S+", "".join(lines))
    children = psutil.Process(process.pid).children(recursive=True)
    answered = [serving.answers(address) for address in addresses]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert "openvino" in "".join(lines)
    assert addresses
    assert all(answered)
    assert not still_alive(children, 60)
    assert not any(serving.answers(address) for address in addresses)
