"""The fast part of the hostile corpus, a test per attack; `python -m grader.tests.attacks` runs the whole."""

import base64
import itertools
import json
from collections import Counter

import pytest

from grader.sandbox import wire
from grader.tests.attacks import corpus, part_runner
from grader.tests.attacks.__main__ import findings
from grader.tests.attacks.corpus import Attack
from grader.tests.attacks.watch import Canaries

pytestmark = pytest.mark.alone

PARTS = corpus.load("parts")


@pytest.fixture(scope="module")
def stage(examiner):
    with part_runner.Stage(examiner) as stage:
        yield stage
        assert stage.victim_lives(), "the worker that waited beside the attacks no longer answers"


@pytest.mark.drawn(3)
@pytest.mark.parametrize("attack", [a for a in PARTS if a.fast], ids=lambda attack: attack.name)
def test_the_attack_earns_learns_and_harms_nothing(stage, attack):
    outcome = stage.run(attack)
    assert outcome.held, "; ".join(findings(outcome))


def test_the_corpus_is_as_large_as_the_course_claims():
    counts = Counter(attack.family for attack in corpus.load())
    assert sum(counts.values()) >= 100
    assert min(counts[family] for family in corpus.FAMILIES) >= 5


@pytest.mark.parametrize(
    "disguise",
    [
        str.encode,
        lambda word: word[::-1].encode(),
        lambda word: word.encode().hex().encode(),
        lambda word: base64.b64encode(word.encode()),
        lambda word: base64.b64encode(b"x" + word.encode()),
        lambda word: base64.b64encode(b"xy" + word.encode()),
        lambda word: word.encode("utf-16"),
        lambda word: word.encode("utf-32"),
        lambda word: word.upper().encode(),
    ],
)
def test_a_canary_is_found_in_disguise(disguise):
    canaries = Canaries()
    word = canaries.plant("somewhere")
    assert canaries.find(b"before " + disguise(word) + b" after")
    assert not canaries.find(disguise(Canaries().plant("somewhere")))


LOUD = '''"""Prints and returns what it should not have.

Must: be heard, or a silent corpus proves nothing.
"""
FAMILY = "secrets"
TARGET = "words"
def count(text):
    print("{canary}"[:20])
    print("{canary}"[20:])
    print("{canary}"[::-1])
    return {{"the": "{canary}"}}
'''
GREEDY = '''"""Does what a neighbour would notice and a report would show.

Must: be noticed.
"""
FAMILY = "harm"
TARGET = "words"
from honest import count
'''


def attack(folder, text, **options) -> Attack:
    path = folder / "control.py"
    path.write_text(text)
    return Attack(path, "parts", "harm", "tries", "must", {"TARGET": "words", **options})


def test_the_stage_hears_a_canary_and_reads_it_in_the_feedback(stage, tmp_path):
    canary = stage.canaries.plant("environment")
    outcome = stage.run(attack(tmp_path, LOUD.format(canary=canary)))
    assert "environment" in outcome.leaked
    assert "in disguise" in outcome.leaked
    assert not outcome.held


def test_the_stage_sees_points_that_nobody_deserves(stage, tmp_path):
    outcome = stage.run(attack(tmp_path, GREEDY, HONEST=True, DESERVES=0))
    assert outcome.earned == 2
    assert findings(outcome) == ["earned 2 where its work deserves 0"]


def test_the_stage_sees_a_neighbour_that_is_harmed(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_quiet", 1e-9)
    (stage._neighbour / "words.py").write_text("def count(text): return {}\n")
    outcome = stage.run(attack(tmp_path, GREEDY, HONEST=True, DESERVES=2))
    (stage._neighbour / "words.py").write_text((stage._part.source / "words.py").read_text())
    assert any("the neighbour lost points" in harm for harm in outcome.harm)


BODIES = [
    None,
    True,
    -1,
    1.5,
    "nan",
    "0x1p99999",
    [],
    [[]],
    [["a"]],
    [["a", 1, 2]],
    {},
    {"d": 1},
    "\ud800",
    2**70,
]
TAGS = ["f", "i", "y", "t", "d", "T", "h", "", "__class__"]
SIZES = [[], [0], [4], [-4, 8], [2.0, 2.0], {}, 7, None]


def test_no_frame_breaks_its_reader():
    decoded = refused = 0
    for tag, body, sizes in itertools.product(TAGS, BODIES, SIZES):
        for more in (
            {},
            {"dtype": "float32", "shape": [1]},
            {"dtype": "object", "shape": [0, 1 << 39, 1 << 39]},
        ):
            tree = json.dumps({"v": [{tag: body, **more}] * 2, "b": sizes}).encode()
            try:
                wire.decode(tree, memoryview(bytes(4)))
                decoded += 1
            except wire.WireError:
                refused += 1
    assert decoded > 0
    assert refused > decoded
    with pytest.raises(wire.WireError):
        wire.decode(json.dumps({"v": 1, "b": [0] * (wire.MAX_COUNT + 1)}).encode(), memoryview(b""))


def test_a_head_that_says_too_little_is_refused(tmp_path):
    path = tmp_path / "silent.py"
    path.write_text('"""Tries something."""\nFAMILY = "verdict"\n')
    with pytest.raises(ValueError, match="Must:"):
        corpus._read(path, "parts")
