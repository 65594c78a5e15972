import argparse
import http.server
import inspect
import socket
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effdl import data


@pytest.fixture
def two_packages(tmp_path, monkeypatch):
    """A cache of its own and two small packages as the only sources."""
    first, second = tmp_path / "first", tmp_path / "second"
    words = "one two three four five six seven eight nine ten"
    for folder in (first, second / "tests"):
        folder.mkdir(parents=True)
    functions = f'def f():\n    """F {words}"""\n\n\ndef g():\n    """Short."""\n'
    (first / "b.py").write_text(f'"""B {words}"""\n{functions}')
    (first / "a.py").write_text(
        f'class A:\n    """A {words}\n\n        indented\n            more\n    """\n'
    )
    (first / "broken.py").write_text('"""Broken ' + words + '"""\nprint "no"\n')
    (second / "c.py").write_text(f'"""B {words}"""\n"""Not a docstring {words}"""\n')
    (second / "tests" / "d.py").write_text(f'"""D {words}"""\n')
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(data, "sources", lambda: [("first", "1", first), ("second", "2", second)])
    return words, tmp_path


def test_docstrings_come_in_order_cleaned_once_per_package_and_without_tests(two_packages):
    words, _ = two_packages
    expected = [f"A {words}\n\nindented\n    more", f"B {words}", f"F {words}", f"B {words}"]
    assert data.docstrings() == expected


def test_the_second_call_reads_the_cache_and_a_new_version_does_not(two_packages, monkeypatch):
    words, folder = two_packages
    built = data.docstrings()
    (folder / "second" / "c.py").write_text(f'"""Changed {words}"""\n')
    assert data.docstrings() == built
    monkeypatch.setattr(data, "sources", lambda: [("second", "3", folder / "second")])
    assert data.docstrings() == [f"Changed {words}"]
    assert sorted(p.name for p in (folder / "cache" / "docstrings").iterdir()) == [
        "first-1.json",
        "second-2.json",
        "second-3.json",
    ]


def test_a_size_limit_leaves_later_packages_alone(two_packages):
    words, folder = two_packages
    assert data.docstrings(megabytes=1e-6) == [f"A {words}\n\nindented\n    more"]
    assert [p.name for p in (folder / "cache" / "docstrings").iterdir()] == ["first-1.json"]


@given(size=st.floats(1e-6, 1e-3))
def test_a_limited_corpus_is_a_prefix_and_passes_the_limit_by_less_than_one_text(size):
    texts = ["x" * n for n in (5, 50, 500, 20)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "sources", lambda: [("a", "1", None)])
        patch.setattr(data, "package_docstrings", lambda *_: texts)
        part = data.docstrings(size)
    assert part == texts[: len(part)]
    assert sum(map(len, part[:-1])) < size * 1e6
    assert len(part) == len(texts) or sum(map(len, part)) >= size * 1e6


def test_the_standard_library_gives_english():
    texts = data.docstrings(megabytes=0.5)
    assert 500_000 <= sum(map(len, texts)) < 600_000
    words = " ".join(texts).lower().split()
    assert words.count("the") / len(words) > 0.02
    assert inspect.getdoc(str.join) not in texts  # C code has no source to parse
    assert inspect.getdoc(argparse) in texts  # early in the alphabet, in every version


def test_every_source_exists_and_has_a_version():
    sources = list(data.sources())
    assert [name for name, *_ in sources][:2] == ["python", "networkx"]
    assert all(version and folder.is_dir() for _, version, folder in sources)


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=r"megabytes=.*: give a positive size"):
        data.docstrings(size)


def test_the_photographs_are_those_of_scikit_learn_and_have_credits():
    images = data.photographs()
    assert set(images) == set(data.PHOTOGRAPH_CREDITS) == {"china", "flower"}
    for image in images.values():
        pixels = np.asarray(image)
        assert (pixels.shape, pixels.dtype) == ((427, 640, 3), np.uint8)
        assert pixels.std() > 20
        with open(image.filename, "rb") as file:
            assert file.read(2) == b"\xff\xd8"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_without_a_network_the_stand_in_is_used_and_said(no_network):
    with pytest.warns(
        UserWarning, match=r'"effdl/none" is not on this machine.*bundled data stands in'
    ) as said:
        rows = data.load("effdl/none", split="train", offline=lambda: {"text": ["a", "b"]})
    assert rows["text"][:] == ["a", "b"]
    assert len([w for w in said if "stands in" in str(w.message)]) == 1


def test_without_a_network_and_a_stand_in_the_error_has_a_remedy(no_network):
    with pytest.raises(ConnectionError, match=r'"effdl/none" is not on this machine.*connect once'):
        data.load("effdl/none", split="train")


def test_a_name_server_that_does_not_answer_costs_no_more_than_the_wait(monkeypatch):
    release, gave_up = threading.Event(), []

    def silent(*args, **kwargs):
        if not release.wait(60):
            gave_up.append(True)
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(data, "NETWORK_WAIT", 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(data.load("effdl/none", split="train", offline=lambda: {"text": ["a"]})) == 1
    assert not gave_up
    release.set()


def test_with_a_network_the_hub_is_asked(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((a, k)) or "rows")
    assert data.load("name", "config", split="test") == "rows"
    assert asked == [(("name", "config"), {"split": "test"})]


def test_offline_mode_is_switched_back(no_network):
    import datasets.config
    import huggingface_hub.constants

    before = (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)
    with data._hub_switched_off():
        assert datasets.config.HF_HUB_OFFLINE
        assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert before == (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)


def test_a_host_that_answers_is_a_network(monkeypatch):
    import huggingface_hub.constants

    # Whatever this machine's own settings are, and however long its first request takes.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(data, "NETWORK_WAIT", 300.0)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    huggingface_hub.utils.close_session()  # the next one reads the environment
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(data, "_hub", lambda: f"http://127.0.0.1:{server.server_port}")
        assert data._hub_answers()
        server.shutdown()
    assert not data._hub_answers()
    huggingface_hub.utils.close_session()
