"""The next token, drawn from logits: temperature, top-k, top-p."""

import torch


def sample(
    logits: torch.Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return a token [n], int64, for each row of `logits` [n, words].

    Divided by `temperature`, logits become probabilities; at 0 the most probable word is taken, whatever else is
    asked for. `top_k` keeps the k most probable words, or all where there are fewer. Of what is left, made to sum to
    one, `top_p` keeps the smallest number of most probable words whose sum is at least p, and never less than one.
    From these the token is drawn, by `generator` alone.
    """
    ### BEGIN SOLUTION
    if temperature == 0:
        return logits.argmax(-1)
    chances, words = (logits.double() / temperature).softmax(-1).sort(descending=True, stable=True)
    if top_k is not None:
        chances[:, top_k:] = 0
        chances /= chances.sum(-1, keepdim=True)
    if top_p is not None:
        before = chances.cumsum(-1) - chances
        before[:, 0] = -1  # the first always stays
        chances[before >= top_p] = 0
    drawn = torch.multinomial(chances, 1, generator=generator)
    return words.gather(-1, drawn)[:, 0]
    ### END SOLUTION
