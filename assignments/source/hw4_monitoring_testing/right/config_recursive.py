# replaces: config.py
# method: recursive merge and look-up with a stack of open references; the sweep reads character by character
import copy
import hashlib
import itertools
import json
import re

REFERENCE = re.compile(r"\$\{([^}]*)\}")


class ConfigError(ValueError):
    pass


def merged(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    out = dict(old)
    for key, value in new.items():
        out[key] = merged(out[key], value) if key in out else value
    return out


def read(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def place(config, key, create=False):
    *way, last = key.split(".")
    node = config
    for step in way:
        if create:
            node.setdefault(step, {})
        if step not in node or not isinstance(node[step], dict):
            raise ConfigError(f"{key}: no {step}")
        node = node[step]
    return node, last


def compose(files, name, overrides=()):
    files = copy.deepcopy(files)
    own = files[name]
    defaults = own.pop("defaults", [])
    if "_self_" not in defaults:
        defaults.append("_self_")
    options = {}
    for entry in defaults:
        if entry != "_self_":
            options.update(entry)
    rest = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key in options:
            options[key] = value
        else:
            rest.append(text)
    config = {}
    for entry in defaults:
        if entry == "_self_":
            config = merged(config, own)
            continue
        for group in entry:
            path = f"{group}/{options[group]}"
            if path not in files:
                raise ConfigError(f"{group} has no option {options[group]}")
            config = merged(config, {group: files[path]})
    config = copy.deepcopy(config)
    for text in rest:
        if text.startswith("~"):
            node, last = place(config, text[1:])
            if last not in node:
                raise ConfigError(f"nothing to remove: {text[1:]}")
            del node[last]
            continue
        add = text.startswith("+")
        key, _, value = text.removeprefix("+").partition("=")
        node, last = place(config, key, create=add)
        if (last in node) == add:
            raise ConfigError(f"{key} is {'already' if add else 'not'} there")
        node[last] = read(value)
    return resolved(config, config, [])


def resolved(root, node, open_now):
    if isinstance(node, dict):
        return {key: resolved(root, value, open_now) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(root, value, open_now) for value in node]
    if not isinstance(node, str):
        return node
    whole = REFERENCE.fullmatch(node)
    if whole:
        return looked_up(root, whole[1], open_now)
    return REFERENCE.sub(lambda found: str(looked_up(root, found[1], open_now)), node)


def looked_up(root, path, open_now):
    if path in open_now:
        raise ConfigError(f"circle: {' -> '.join([*open_now, path])}")
    open_now = [*open_now, path]
    node = root
    for step in path.split("."):
        if isinstance(node, str):
            node = resolved(root, node, open_now)
        if not isinstance(node, dict) or step not in node:
            raise ConfigError(f"reference to nothing: {path}")
        node = node[step]
    return copy.deepcopy(resolved(root, node, open_now))


def fingerprint(config):
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def pieces(text):
    out, now, depth, quoted, escaped = [], "", 0, False, False
    for letter in text:
        if escaped:
            escaped = False
        elif quoted and letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "[{":
            depth += 1
        elif not quoted and letter in "]}":
            depth -= 1
        elif not quoted and letter == "," and depth == 0:
            out.append(now)
            now = ""
            continue
        now += letter
    return [*out, now]


def sweep(overrides):
    choices = []
    for text in overrides:
        key, equals, value = text.partition("=")
        choices.append([f"{key}={piece}" for piece in pieces(value)] if equals else [text])
    return [list(run) for run in itertools.product(*choices)]
