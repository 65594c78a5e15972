"""A run's configuration: files that are put together, overrides from the command line, and a name for the result."""

import copy
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Sequence


class ConfigError(ValueError):
    """The configuration cannot be what was asked for; the message names the key."""


def compose(files: dict[str, dict], name: str, overrides: Sequence[str] = ()) -> dict:
    """Return the configuration that the file `name` and the overrides make; the statement has the rules.

    `files` has the content of each file by its path without suffix, such as "config" and "model/small"; it stays as
    it is. Raises ConfigError.
    """
    ### BEGIN SOLUTION
    files = copy.deepcopy(files)
    if name not in files:
        raise ConfigError(f"there is no file {name!r}; there are {', '.join(sorted(files))}")
    own = files[name]
    entries = own.pop("defaults", [])
    if "_self_" not in entries:
        entries = [*entries, "_self_"]
    chosen = {group: option for entry in entries if entry != "_self_" for group, option in entry.items()}
    changes = []
    for text in overrides:
        key, _, value = text.partition("=")
        if key in chosen and "=" in text:
            chosen[key] = value
        else:
            changes.append(text)
    config = {}
    for entry in entries:
        if entry == "_self_":
            _merge(config, own)
            continue
        for group in entry:
            path = f"{group}/{chosen[group]}"
            if path not in files:
                options = sorted(each.split("/", 1)[1] for each in files if each.startswith(f"{group}/"))
                raise ConfigError(f"{group} has no option {chosen[group]!r}; it has {', '.join(options)}")
            _merge(config, {group: files[path]})
    for text in changes:
        _override(config, text)
    return _resolve(config, config, ())
    ### END SOLUTION


### BEGIN SOLUTION
def _merge(config, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _merge(config[key], value)
        else:
            config[key] = copy.deepcopy(value)


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _override(config, text):
    if text.startswith("~"):
        key, sign = text[1:], "~"
    else:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"the override {text!r} has no '='")
        sign = "+" if key.startswith("+") else ""
        key = key.removeprefix("+")
    *way, last = key.split(".")
    place = config
    for step in way:
        if sign == "+" and step not in place:
            place[step] = {}
        if not isinstance(place.get(step), dict):
            raise ConfigError(f"{key}: there is no {step!r}; {_near(step, place)}")
        place = place[step]
    if sign == "+":
        if last in place:
            raise ConfigError(f"{key} is there already; leave the '+' out to change it")
    elif last not in place:
        raise ConfigError(f"there is no {key}; {_near(last, place)}, and '+{key}=...' would add it")
    if sign == "~":
        del place[last]
    else:
        place[last] = _value(value)


def _near(word, place):
    found = difflib.get_close_matches(word, [str(each) for each in place], n=1)
    return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(map(str, place))}"


_REFERENCE = re.compile(r"\$\{([^${}]+)\}")


def _resolve(value, config, seen):
    if isinstance(value, dict):
        return {key: _resolve(each, config, seen) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each, config, seen) for each in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _referred(whole[1], config, seen)
    return _REFERENCE.sub(lambda found: str(_referred(found[1], config, seen)), value)


def _referred(key, config, seen):
    if key in seen:
        raise ConfigError(f"{' -> '.join([*seen, key])} is a circle")
    place = config
    for step in key.split("."):
        if not isinstance(place, dict) or step not in place:
            raise ConfigError(f"${{{key}}} refers to nothing")
        place = place[step]
    return _resolve(place, config, (*seen, key))


### END SOLUTION
def fingerprint(config: dict) -> str:
    """Return a name for a configuration: the same text for equal ones, in every process; another one for others.

    The order of keys plays no part, the order in a list does. 1, 1.0, true and "1" are four different values.
    """
    ### BEGIN SOLUTION
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
    ### END SOLUTION


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each run: "rate=0.1,0.3" stands for two runs, and several such for all combinations.

    The last override changes fastest. A comma within brackets, braces or double quotes separates nothing.
    """
    ### BEGIN SOLUTION
    choices = []
    for text in overrides:
        key, equals, values = text.partition("=")
        choices.append([f"{key}={value}" for value in _split(values)] if equals else [text])
    return [list(run) for run in itertools.product(*choices)]


def _split(text):
    parts, depth, quoted, begin = [], 0, False, 0
    for place, letter in enumerate(text):
        if letter == '"' and (place == 0 or text[place - 1] != "\\"):
            quoted = not quoted
        elif not quoted and letter in "[{":
            depth += 1
        elif not quoted and letter in "]}":
            depth -= 1
        elif letter == "," and not quoted and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
    ### END SOLUTION
