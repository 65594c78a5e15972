"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""


def evaluated(weights, sequences, config):
    """Return what `evaluate` says, and the logits of each sequence by itself."""
    from model import forward
    from training import evaluate

    logits = [forward(weights, sequence[None, :-1], config)[0] for sequence in sequences]
    return {"logits": logits, "found": evaluate(weights, sequences, config)}


def accumulated(weights, batches, config):
    """Return loss and gradients of all micro-batches, those of each alone, and the logits of each."""
    from model import forward
    from training import gradients_of

    alone = [gradients_of(weights, [batch], config) for batch in batches]
    logits = [forward(weights, tokens, config) for tokens, _ in batches]
    return {"all": gradients_of(weights, batches, config), "alone": alone, "logits": logits}


def stopped(config, seed, sequences, pieces):
    """Return the losses of training in one piece, and in `pieces` with a checkpoint after each."""
    from training import load, save, start, train

    _, whole = train(start(config, seed), sequences, sum(pieces), config)
    state, found = start(config, seed), []
    for steps in pieces:
        state, metrics = train(load(save(state)), sequences, steps, config)
        found += metrics
    return {"whole": [one["loss"] for one in whole], "pieces": [one["loss"] for one in found]}
