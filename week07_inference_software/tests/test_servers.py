"""The KServe client against every server, the codec, dynamic batching, and that nothing is left running."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("onnxruntime", reason="needs requirements-week07.txt")
from effdl.processes import still_alive
from week07_inference_software import digits, kserve, nvidia_triton, openvino_server, repository, serving
from week07_inference_software import seminar_trials as trials

TRITON = pytest.mark.skipif(not nvidia_triton.installed(), reason=f"needs {nvidia_triton.NEEDS}")
STARTS = [
    pytest.param(openvino_server.running, id="ours"),
    pytest.param(nvidia_triton.running, id="NVIDIA Triton", marks=TRITON),
]
KINDS = [np.dtype(code) for code in kserve.DATATYPES.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("repository")
    for name, delay in (("alone", None), ("joined", 1_000_000)):
        repository.write(made, name, repository.config(name, 8, delay))
    return made


@pytest.fixture(scope="module", params=STARTS)
def server(request, folder):
    with request.param(folder) as where:
        yield where


@pytest.fixture(params=["http", "grpc"])
def client(request, server):
    made = kserve.client(getattr(server, request.param))
    yield made
    made.close()


# --- the codec -------------------------------------------------------------------------------------------------

TENSOR = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays.arrays(
        kind,
        arrays.array_shapes(max_dims=3, max_side=4),
        elements=None if kind.kind != "f" else {"allow_nan": False, "allow_infinity": False},
    )
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), TENSOR, min_size=1, max_size=3), st.booleans())
def test_what_is_packed_comes_out_again_with_type_shape_and_every_bit(tensors, binary):
    headers, body = kserve.pack("outputs", tensors, binary)
    found = kserve.unpack("outputs", headers, body)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_an_array_that_does_not_lie_row_by_row_is_sent_row_by_row():
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    headers, body = kserve.pack("inputs", {"x": turned})
    np.testing.assert_array_equal(kserve.unpack("inputs", headers, body)["x"], turned)


def test_an_address_with_another_scheme_gets_a_sentence():
    with pytest.raises(ValueError, match=r"http:// or grpc://"):
        kserve.client("127.0.0.1:8000")


# --- servers ---------------------------------------------------------------------------------------------------


def test_every_server_answers_over_every_protocol_as_pytorch_does(client):
    batch = digits.test_set()[0][:5]
    found = client.infer("alone", {"image": batch})
    np.testing.assert_allclose(found["scores"], trials.scores(5), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found["rows"], np.full((5, 1), 5))


def test_readiness_is_that_of_the_server_and_that_of_a_model(client):
    assert client.ready()
    assert client.ready("alone")
    assert not client.ready("nobody")


def test_metadata_names_inputs_and_outputs_with_a_free_batch_axis(client):
    found = client.metadata("alone")
    assert found["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert [output["shape"] for output in found["outputs"]] == [[-1, 10], [-1, 1]]


@pytest.mark.parametrize(
    ("model", "tensors"),
    [
        ("nobody", {"image": np.zeros((1, 1, 8, 8), np.float32)}),
        ("alone", {"image": np.zeros((9, 1, 8, 8), np.float32)}),
        ("alone", {"image": np.zeros((1, 1, 8, 9), np.float32)}),
        ("alone", {"image": np.zeros((1, 1, 8, 8), np.float64)}),
        ("alone", {"picture": np.zeros((1, 1, 8, 8), np.float32)}),
    ],
)
def test_a_bad_request_is_refused_and_the_next_good_one_answered(client, model, tensors):
    with pytest.raises(kserve.Refused):
        client.infer(model, tensors)
    client.infer("alone", {"image": np.zeros((1, 1, 8, 8), np.float32)})


def test_body_that_is_no_json_is_refused(server):
    client = kserve.HttpClient(server.http.removeprefix("http://"))
    with pytest.raises(kserve.Refused):
        client.call("POST", "/v2/models/alone/infer", {"Content-Type": "application/json"}, b"{nothing")
    client.close()


def test_requests_of_one_moment_share_a_batch_only_where_the_model_says_so(server):
    assert trials.together(server.http, "alone", 4) == [1] * 4
    assert trials.together(server.http, "joined", 8) == [8] * 8


def test_no_batch_is_larger_than_the_model_allows_and_nobody_gets_anothers_answer(server):
    images = digits.test_set()[0]
    found = {}

    def ask(place):
        client = kserve.client(server.http)
        rows = 1 + place % 3
        found[place] = client.infer("joined", {"image": images[place : place + rows]})
        client.close()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = digits.answers(digits.trained(), images[:16])
    for place in range(12):
        rows = 1 + place % 3
        np.testing.assert_allclose(found[place]["scores"], expected[place : place + rows], rtol=0, atol=1e-4)
        assert found[place]["rows"].max() <= 8


def test_statistics_and_metrics_count_the_rows_that_were_asked_for(server):
    client = kserve.HttpClient(server.http.removeprefix("http://"))
    metrics = kserve.HttpClient(server.metrics.removeprefix("http://"))

    def counted():
        lines = metrics.call("GET", "/metrics")[1].decode().splitlines()
        line = next(one for one in lines if one.startswith("nv_inference_count") and '"alone"' in one)
        return client.statistics("alone")["inference_count"], int(float(line.split()[-1]))

    before = counted()
    for rows in (1, 2, 5):
        client.infer("alone", {"image": digits.test_set()[0][:rows]})
    assert [after - first for after, first in zip(counted(), before, strict=True)] == [8, 8]
    client.close()
    metrics.close()


def test_a_model_written_while_the_server_runs_is_there_once_it_is_loaded(server, folder):
    repository.write(folder, "late", repository.config("late", 2))
    client = kserve.HttpClient(server.http.removeprefix("http://"))
    client.load("late")
    assert client.ready("late")
    with pytest.raises(kserve.Refused):
        client.load("../late")
    client.close()


def test_tritons_statistics_call_a_batch_what_a_loop_ran_one_by_one(server, folder):
    if server.metrics == server.http:
        pytest.skip("our own server joins the inputs itself")
    assert trials.loop_in_the_model(folder, server.http, 8) == (8, 1)
    assert trials.peer(server.http, "alone")["difference"] == 0


# --- processes -------------------------------------------------------------------------------------------------


def family():
    return {one.pid for one in psutil.Process().children(recursive=True)}


def regions():
    return set(Path("/dev/shm").glob(f"effdl_{os.getpid()}_*"))


@pytest.mark.parametrize("start", STARTS)
def test_nothing_runs_or_listens_after_a_block_that_failed(start, folder):
    before, shared = family(), regions()
    seen = []

    def fails():
        with start(folder) as where:
            seen.append(where.http)
            assert family() > before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert family() <= before
    assert not serving.answers(f"{seen[0]}/v2/health/ready")
    assert regions() <= shared


def test_a_server_ends_when_the_process_that_started_it_is_killed(folder):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom week07_inference_software import openvino_server\n"
        f"with openvino_server.running(Path({str(folder)!r})) as where:\n"
        "    print(where.http, flush=True)\n    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    address = parent.stdout.readline().strip()
    children = psutil.Process(parent.pid).children(recursive=True)
    assert serving.answers(f"{address}/v2/health/ready")
    parent.kill()
    parent.communicate()
    assert not still_alive(children, 60)


def test_a_server_that_cannot_start_says_why(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.pbtxt").write_text("max_batch_size: many")
    with pytest.raises(serving.DidNotStart, match=r"config\.pbtxt"), openvino_server.running(tmp_path):
        pass


def test_end_of_a_command_that_ignores_sigterm_comes_all_the_same(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
        "time.sleep(600)"
    )
    leash = Path(serving.__file__).with_name("leash.py")
    code = f"import sys; sys.path.insert(0, {str(leash.parent)!r}); import leash; leash.PATIENCE = 0.5; leash.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, "-c", stubborn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.stdin.close()
    process.wait(60)
    assert not still_alive(children, 60)
    assert time.monotonic() - began < 60
    process.stdout.close()
