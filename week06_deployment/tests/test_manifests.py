"""Manifests: ours are right by schema and by rules, and each planted mistake is found by one of them."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from week06_deployment import manifests

pytest.importorskip("kubernetes_validate")
pytest.importorskip("check_jsonschema")

LABELS = st.dictionaries(st.sampled_from(["app", "tier", "zone"]), st.sampled_from(["a", "b"]))
COMPOSE = yaml.safe_load((manifests.DEPLOY / "compose.yaml").read_text())


def test_our_manifests_are_valid_and_do_not_contradict_each_other():
    assert manifests.schema_errors(manifests.read()) == []
    assert manifests.contradictions(manifests.read()) == []


def test_our_compose_file_is_valid_and_a_misspelt_key_is_not():
    assert manifests.compose_errors(COMPOSE) == []
    spoiled = copy.deepcopy(COMPOSE)
    spoiled["services"]["nginx"]["port"] = spoiled["services"]["nginx"].pop("ports")
    assert manifests.compose_errors(spoiled)


def test_only_the_front_of_the_compose_file_is_reachable_and_only_from_this_machine():
    published = {
        name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service
    }
    assert set(published) == {"nginx", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("mistake", manifests.MISTAKES)
def test_a_planted_mistake_is_found(mistake):
    spoiled = copy.deepcopy(manifests.read())
    manifests.MISTAKES[mistake](spoiled)
    assert manifests.schema_errors(spoiled) or manifests.contradictions(spoiled)


def test_the_schema_finds_the_first_five_and_the_rules_find_the_rest():
    found = manifests.caught(manifests.read())
    assert [schema for schema, _ in found.values()] == [True] * 5 + [False] * 7
    assert [rule for _, rule in found.values()] == [False] * 5 + [True] * 7


def test_an_unknown_kind_is_an_error_and_no_traceback():
    assert manifests.schema_errors([{"apiVersion": "v9", "kind": "Nothing", "metadata": {"name": "x"}}])


@given(LABELS, LABELS)
def test_a_selector_finds_what_has_all_of_its_pairs_and_an_empty_one_finds_nothing(selector, labels):
    wanted = bool(selector) and all(labels.get(key) == value for key, value in selector.items())
    assert manifests.selects(selector, labels) == wanted


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("128Mi", 2**27), ("2", 2), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities_are_numbers(text, value):
    assert manifests.quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "Mi", "5 Mi", "5x", "-1"])
def test_text_that_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="no quantity"):
        manifests.quantity(text)
