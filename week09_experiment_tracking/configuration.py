"""Configurations as pure functions: compose, override, resolve, validate, sweep, hash. Trees of dicts in, trees out.

    tree = compose(FILES, ["model=wide", "optimizer.lr=0.1"])

The rules are Hydra's, in small: a file names the groups that it is made of, a group is chosen by name, a value is set
by its path, and `${path}` stands for another value.
"""

import copy
import dataclasses
import difflib
import hashlib
import itertools
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Tree = dict[str, Any]


class BadConfig(ValueError):
    """A configuration that says something that nobody reads, or lacks something that somebody needs."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """A tree with the values of both; where both have one, that of `over`. Neither is changed."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def compose(
    files: Mapping[str, Tree], overrides: list[str] | tuple[str, ...] = (), name: str = "config"
) -> Tree:
    """The tree of `files[name]`, with its groups chosen, values set and references resolved.

    `files` maps names such as `config` and `model/wide` to trees. The list `defaults` of the first one says which
    groups there are: `[{"model": "small"}]`. An override is `model=wide` for a group, `a.b=1` for a value that is
    there, `+a.c=1` for a new one, `~a.b` to take one out.

    Raises BadConfig for a choice that does not exist, and all that `override` and `resolve` raise.
    """
    own = {key: value for key, value in files[name].items() if key != "defaults"}
    chosen = {group: choice for entry in files[name].get("defaults", []) for group, choice in entry.items()}
    values = []
    for text in overrides:
        key, _, value = text.partition("=")
        if key in chosen:
            chosen[key] = value
        else:
            values.append(text)
    tree: Tree = {}
    for group, choice in chosen.items():
        if f"{group}/{choice}" not in files:
            known = [name.split("/")[1] for name in files if name.startswith(f"{group}/")]
            raise BadConfig(f"{group}={choice}: there are {', '.join(known)}")
        tree = merge(tree, {group: files[f"{group}/{choice}"]})
    return resolve(override(merge(tree, own), values))


def override(tree: Tree, texts: list[str]) -> Tree:
    """The tree with these values set. Raises BadConfig for a path that is not there, with the nearest one that is."""
    tree = copy.deepcopy(tree)
    for text in texts:
        path, has_value, value = text.lstrip("+~").partition("=")
        *parents, last = path.split(".")
        node: Any = tree
        for part in parents:
            if text.startswith("+"):
                node = node.setdefault(part, {})
            else:
                node = node.get(part) if isinstance(node, dict) else None
        there = isinstance(node, dict) and last in node
        if there == text.startswith("+"):
            near = difflib.get_close_matches(path, list(paths(tree)), n=1)
            hint = f"; did you mean {near[0]}?" if near else "; +path=value adds a new one"
            raise BadConfig(f"{path} is {'already' if there else 'not'} there" + hint * (not there))
        if text.startswith("~"):
            del node[last]
        elif has_value:
            node[last] = parsed(value)
        else:
            raise BadConfig(f"{text}: write path=value")
    return tree


def paths(tree: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The paths of all values that are not trees themselves."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from paths(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def parsed(text: str) -> Any:
    """A value as a person means it: YAML, but `1e-3` is a number and `no` is a word."""
    if NUMBER.fullmatch(text) and not re.fullmatch(r"[-+]?\d+", text):
        return float(text)
    if text.lower() in ("yes", "no", "on", "off", "y", "n"):
        return text
    return yaml.safe_load(text)


REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def resolve(tree: Tree) -> Tree:
    """The tree with each `${path}` replaced. Alone, a reference keeps the type of its value; in a text it is text.

    Raises BadConfig for a path that is not there, and for references that run in a circle.
    """

    def value_at(path: str, above: tuple[str, ...]) -> Any:
        if path in above:
            raise BadConfig(f"references run in a circle: {' -> '.join([*above, path])}")
        node: Any = tree
        for part in path.split("."):
            if not isinstance(node, dict) or part not in node:
                raise BadConfig(f"${{{path}}} points to nothing")
            node = node[part]
        return filled(node, (*above, path))

    def filled(node: Any, above: tuple[str, ...]) -> Any:
        if isinstance(node, dict):
            return {key: filled(value, above) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value, above) for value in node]
        if not isinstance(node, str):
            return node
        if alone := REFERENCE.fullmatch(node):
            return value_at(alone[1], above)
        return REFERENCE.sub(lambda match: str(value_at(match[1], above)), node)

    return filled(tree, ())


def validate(kind: type, tree: Mapping[str, Any], where: str = "") -> Any:
    """The tree as a dataclass. Raises BadConfig for a value that is missing, unknown or of another type.

    An int is a float too; a bool is no number. What a value must be besides, the dataclass says in __post_init__.
    """
    types = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for unknown in set(tree) - set(fields):
        raise BadConfig(f"{where}{unknown} is read by nobody")
    given = {}
    for name, field in fields.items():
        if name not in tree:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise BadConfig(f"{where}{name} is missing")
            continue
        value, wanted = tree[name], types[name]
        if dataclasses.is_dataclass(wanted):
            value = validate(wanted, value, f"{where}{name}.")
        elif wanted is float and type(value) is int:
            value = float(value)
        elif type(value) is not wanted:
            raise BadConfig(f"{where}{name} is {value!r}, and must be {wanted.__name__}")
        given[name] = value
    return kind(**given)


def sweep(text: list[str]) -> list[list[str]]:
    """Every combination of overrides with several values: `["lr=0.1,0.2", "seed=0,1"]` gives four lists."""
    choices = [
        [f"{path}={value}" for value in values.split(",")]
        for path, _, values in (t.partition("=") for t in text)
    ]
    return [list(combination) for combination in itertools.product(*choices)]


def digest(tree: Mapping[str, Any]) -> str:
    """A short hash of what the tree says, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


FILES: dict[str, Tree] = {
    "config": {
        "defaults": [{"model": "small"}, {"optimizer": "sgd"}],
        "seed": 0,
        "epochs": 10,
        "warmup": "${epochs}",
        "name": "${model.kind}-${optimizer.kind}-${seed}",
    },
    "model/small": {"kind": "mlp", "width": 64, "dropout": 0.1},
    "model/wide": {"kind": "mlp", "width": 256, "dropout": 0.2},
    "optimizer/sgd": {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
    "optimizer/adam": {"kind": "adam", "lr": 0.001, "betas": [0.9, 0.999]},
}
"""The configuration of this page."""


@dataclasses.dataclass(frozen=True)
class Sgd:
    """The optimizer of the page's schema."""

    kind: str
    lr: float
    momentum: float = 0.0

    def __post_init__(self):
        if not 0 < self.lr < 10:
            raise BadConfig(f"optimizer.lr is {self.lr}; a learning rate lies between 0 and 10")
