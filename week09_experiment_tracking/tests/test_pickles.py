"""Pickles and safetensors: what acts, who reports it, who refuses it. All payloads make a folder or a small file."""

import contextlib
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from week09_experiment_tracking import children, pickles

pytest.importorskip("picklescan")
pytest.importorskip("fickling")
safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def everything():
    return children.call("pickles", "everything")


@pytest.fixture(scope="module")
def reports(everything):
    return everything["table"]


def test_every_payload_acts_when_loaded_and_no_honest_file_does(reports):
    assert {name for name, row in reports.items() if row["marks when loaded"]} == set(pickles.payloads())


@pytest.mark.parametrize("which", ["weights_only", "fickling's list", "our list"])
def test_an_allow_list_refuses_every_payload(reports, which):
    assert all(reports[name][f"{which} refuses"] for name in pickles.payloads())
    assert not any(row["marks under a list"] for row in reports.values())


def test_our_list_takes_every_honest_file(reports):
    assert not any(reports[name]["our list refuses"] for name in pickles.honest())


def test_the_scanner_knows_the_usual_suspects_and_not_all_others(reports):
    assert reports["os.mkdir"]["picklescan reports"]
    assert sum(reports[name]["picklescan reports"] for name in pickles.payloads()) < len(pickles.payloads())


def test_every_wrapping_acts_and_compressed_ones_are_not_seen(everything):
    found = everything["wrapped"]
    assert all(row["marks"] for row in found.values())
    assert found["pickle"]["picklescan"] == "reported"
    assert found["joblib, compressed"]["picklescan"] != "reported"


def test_our_list_takes_what_is_on_it_and_says_what_is_not():
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.mkdir|nt\.mkdir"):
        pickles.load_listed(pickle.dumps(pickles.payloads()["os.mkdir"]))
    assert pickles.load_listed(pickle.dumps({"a": [1, 2.5]})) == {"a": [1, 2.5]}


def test_crafted_files_are_refused_by_the_library_and_by_our_reader(everything):
    found = dict(everything["formats"])
    assert found.pop("good") == {"safetensors": "loads", "ours": "loads", "zipfile": "no archive"}
    assert all(
        row[reader].startswith("refused") for row in found.values() for reader in ("safetensors", "ours")
    )
    assert found["a zip archive behind the tensors"]["zipfile"] == "a zip archive"


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=4))
def test_our_reader_reads_the_headers_that_the_library_writes(shapes):
    tensors = {f"t{i}": torch.zeros(shape) for i, shape in enumerate(shapes)}
    header = pickles.header_of(safetensors.save(tensors))
    assert {name: header[name]["shape"] for name in tensors} == {
        name: list(t.shape) for name, t in tensors.items()
    }


@given(st.binary(max_size=60))
def test_our_reader_raises_value_error_or_reads_whatever_the_bytes_are(content):
    with contextlib.suppress(ValueError):
        assert isinstance(pickles.header_of(content), dict)
