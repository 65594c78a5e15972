"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""

import torch

KEPT = {}
"""What was made for an earlier question of the same comparison."""


def plain(value):
    """Return a number that came as a tensor or NumPy's as a plain one, lists and dictionaries of them as such."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def seeded(seed):
    """Return a generator of random numbers."""
    return torch.Generator().manual_seed(seed)


# --- cache ------------------------------------------------------------------------------------------------------


def serve(weights, heads, steps):
    """Return the logits of each of `steps` on one cache that grows and shrinks.

    ["prefill", prompts] begins; ["decode", tokens] adds a token to each sequence; ["select", numbers] keeps some
    and gives no logits; ["join", prompts] adds sequences and gives the logits of these.
    """
    from kv_cache import decode, join, prefill, select

    cache, found = None, []
    for name, value in steps:
        if name == "prefill":
            logits, cache = prefill(weights, value, heads)
        elif name == "decode":
            logits, cache = decode(weights, value, cache, heads)
        elif name == "join":
            logits, more = prefill(weights, value, heads)
            cache = join(cache, more)
        else:
            logits, cache = None, select(cache, value)
        found.append(logits)
    return found


def random_weights(seed, words, places, width, layers):
    """Return weights for `forward`, float64; the same for the same seed."""
    generator = seeded(seed)
    shapes = {"token": (words, width), "position": (places, width)}
    for layer in range(layers):
        shapes |= {f"{layer}.qkv": (width, 3 * width), f"{layer}.out": (width, width)}
        shapes |= {f"{layer}.up": (width, 4 * width), f"{layer}.down": (4 * width, width)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) / 3
        for name, shape in shapes.items()
    }


def long_text(seed, length, steps):
    """Return the logits after a prompt of `length` tokens and `steps` more, one at a time.

    Each follows from the logits before it, so that nobody can compute with it any earlier.
    """
    from kv_cache import decode, prefill

    if "weights" not in KEPT:
        KEPT["weights"] = random_weights(0, 100, 1024, 64, 2)
    weights, tokens = KEPT["weights"], torch.randint(0, 100, (length + steps,), generator=seeded(seed))
    logits, cache = prefill(weights, [tokens[:length]], 4)
    for token in tokens[length:]:
        logits, cache = decode(weights, (token + logits.argmax(-1)) % 100, cache, 4)
    return logits


# --- blocks -----------------------------------------------------------------------------------------------------


def manage(blocks, size, steps):
    """Return for each of `steps` what the manager answered, then every table and the number of free blocks.

    A step is ["add", name, tokens], ["append", name], ["fork", parent, child] or ["free", name]; one with a sequence
    that was refused before is left out.
    """
    from block_manager import BlockManager, OutOfBlocks

    manager, names, found = BlockManager(blocks, size), [], []
    if callable(manager.free_blocks):
        raise TypeError("free_blocks is a property; its @property is missing")
    for what, *arguments in steps:
        try:
            known = what == "add" or arguments[0] in names
            answer = plain(getattr(manager, what)(*arguments)) if known else "no such sequence"
        except OutOfBlocks:
            answer = "out of blocks"
        else:
            if what == "add":
                names.append(arguments[0])
            if what == "fork" and known:
                names.append(arguments[1])
            if what == "free" and known:
                names.remove(arguments[0])
        tables = {name: plain(manager.table(name)) for name in names}
        found.append({"answer": answer, "tables": tables, "free": plain(manager.free_blocks)})
    return found


# --- scheduler --------------------------------------------------------------------------------------------------


def schedules(cases):
    """Return the times of `simulate` for each of `cases`, its arguments."""
    from scheduler import simulate

    return [plain(simulate(requests, *rest[:3], tuple(rest[3]))) for requests, *rest in cases]


def measured(cases):
    """Return the `metrics` of each pair of requests and times."""
    from scheduler import metrics

    return [plain(metrics(requests, times)) for requests, times in cases]


# --- sampling ---------------------------------------------------------------------------------------------------


def draws(cases):
    """Return tokens of `sample` for each case: logits [n, words], how often each stands there, options, a seed."""
    from sampling import sample

    return [
        sample(logits.repeat(times, 1), generator=seeded(seed), **options)
        for logits, times, options, seed in cases
    ]


# --- export -----------------------------------------------------------------------------------------------------


def exported(weights, heads):
    """Return the ONNX file."""
    from export import to_onnx

    file = to_onnx(weights, heads)
    if not isinstance(file, bytes):
        raise TypeError(f"to_onnx returned {type(file).__name__}, not bytes")
    return file


# --- speculative ------------------------------------------------------------------------------------------------


def verified(draft_chances, target_chances, times, seed):
    """Draw a draft and verify it, `times` times; return tokens [times, k + 1], -1 behind the last, and the drafts."""
    from speculative import verify

    generator, k = seeded(seed), len(draft_chances)
    found, drafts = torch.full((times, k + 1), -1), torch.zeros(times, k, dtype=torch.int64)
    for row, kept in zip(found, drafts, strict=True):
        draft = torch.multinomial(draft_chances, 1, generator=generator)[:, 0]
        kept[:] = draft
        tokens = plain(verify(draft, draft_chances, target_chances, generator))
        row[: len(tokens)] = torch.tensor(tokens[: k + 1])
    return found, drafts
