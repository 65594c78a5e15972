# replaces: config.py
# method: paths as tuples in one flat table, references filled in by passes until none is left; the sweep counts runs
import contextlib
import json
import re


class ConfigError(ValueError):
    pass


EMPTY = object()


def flat(tree, before=()):
    """A table from path to leaf; a dictionary stands in it as EMPTY, so that empty ones live too."""
    table = {}
    for key, value in tree.items():
        path = (*before, key)
        if isinstance(value, dict):
            table[path] = EMPTY
            table.update(flat(value, path))
        else:
            table[path] = json.loads(json.dumps(value))
    return table


def nested(table, before=()):
    tree = {}
    for path, value in table.items():
        if path[:-1] == before:
            tree[path[-1]] = nested(table, path) if value is EMPTY else value
    return tree


def cut(table, path):
    for other in [other for other in table if other[: len(path)] == path]:
        del table[other]


def put(table, path, value):
    cut(table, path)
    table.update(flat({path[-1]: value}, path[:-1]))


def lay_over(table, more):
    for path, value in more.items():
        if value is EMPTY and table.get(path) is EMPTY:
            continue
        cut(table, path)
        table[path] = value


def compose(files, name, overrides=()):
    entries = list(files[name].get("defaults", []))
    if "_self_" not in entries:
        entries.append("_self_")
    groups = {group for entry in entries if isinstance(entry, dict) for group in entry}
    chosen, others = {}, []
    for text in overrides:
        match = re.match(r"([^=+~]+)=(.*)", text, re.DOTALL)
        if match and match[1] in groups:
            chosen[match[1]] = match[2]
        else:
            others.append(text)
    table = {}
    for entry in entries:
        if entry == "_self_":
            lay_over(table, flat({k: v for k, v in files[name].items() if k != "defaults"}))
        else:
            ((group, option),) = entry.items()
            option = chosen.get(group, option)
            try:
                content = files[group + "/" + option]
            except KeyError:
                raise ConfigError(f"no option {option!r} of {group!r}") from None
            lay_over(table, flat({group: content}))
    for text in others:
        override(table, text)
    return fill_in(table)


def override(table, text):
    sign = text[0] if text[0] in "+~" else ""
    key, _, value = text[len(sign) :].partition("=")
    path = tuple(key.split("."))
    if sign == "+":
        if path in table:
            raise ConfigError(key + " is there")
        for length in range(1, len(path)):
            if table.setdefault(path[:length], EMPTY) is not EMPTY:
                raise ConfigError(key + " leads through a value")
    elif path not in table:
        raise ConfigError(key + " is not there")
    if sign == "~":
        cut(table, path)
        return
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(value)
    put(table, path, value)


def unfilled(value):
    return "${" in json.dumps(value)


def fill_in(table):
    tree = nested(table)
    while True:
        state = {"changed": False, "left": set()}
        tree = one_pass(tree, tree, state)
        if not state["left"]:
            return tree
        if not state["changed"]:
            raise ConfigError("a circle of references: " + ", ".join(sorted(state["left"])))


def one_pass(value, tree, state):
    if isinstance(value, dict):
        return {key: one_pass(each, tree, state) for key, each in value.items()}
    if isinstance(value, list):
        return [one_pass(each, tree, state) for each in value]
    if not isinstance(value, str):
        return value
    for part in re.findall(r"\$\{[^}]*\}", value):
        ready, found = find(part[2:-1], tree)
        if not ready:
            state["left"].add(part)
            continue
        state["changed"] = True
        if part == value:
            return json.loads(json.dumps(found))
        value = value.replace(part, str(found))
    return value


def find(path, tree):
    here = tree
    for step in path.split("."):
        if isinstance(here, str) and "${" in here:
            return False, None
        if not (isinstance(here, dict) and step in here):
            raise ConfigError("nothing is called " + path)
        here = here[step]
    return not unfilled(here), here


def fingerprint(config):
    if isinstance(config, dict):
        inner = sorted(f"{json.dumps(key)}:{fingerprint(value)}" for key, value in config.items())
        return "{" + ",".join(inner) + "}"
    if isinstance(config, (list, tuple)):
        return "[" + ",".join(map(fingerprint, config)) + "]"
    return f"{type(config).__name__}({config!r})"


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|.', re.DOTALL)


def sweep(overrides):
    table = []
    for text in overrides:
        if "=" not in text:
            table.append([text])
            continue
        key, value = text.split("=", 1)
        parts, open_brackets = [[]], 0
        for token in TOKEN.findall(value):
            open_brackets += (token in ("[", "{")) - (token in ("]", "}"))
            if token == "," and open_brackets == 0:
                parts.append([])
            else:
                parts[-1].append(token)
        table.append([key + "=" + "".join(part) for part in parts])
    total = 1
    for column in table:
        total *= len(column)
    runs = []
    for number in range(total):
        run = []
        for column in reversed(table):
            number, which = divmod(number, len(column))
            run.insert(0, column[which])
        runs.append(run)
    return runs
