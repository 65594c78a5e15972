"""Speculative decoding: which tokens of a draft stay, so that the text is distributed as if there were no draft."""

import torch


def verify(
    draft: torch.Tensor,
    draft_chances: torch.Tensor,
    target_chances: torch.Tensor,
    generator: torch.Generator | None = None,
) -> list[int]:
    """Return the tokens that one look of the target model at `draft` yields: one to k + 1 of them.

    `draft` [k], int64, was drawn from the rows of `draft_chances` [k, words]; `target_chances` [k + 1, words] are the
    target's at the same places, and at the one behind. A prefix of the draft, then one token more (Leviathan et al.
    2023): each token is distributed as the target's row at its place.
    """
    ### BEGIN SOLUTION
    tokens = []
    for place, token in enumerate(draft.tolist()):
        asked, offered = target_chances[place], draft_chances[place]
        if torch.rand((), generator=generator, dtype=torch.float64) * offered[token] < asked[token]:
            tokens.append(token)
            continue
        rest = (asked - offered).clamp(min=0)
        return [*tokens, int(torch.multinomial(rest, 1, generator=generator))]
    return [*tokens, int(torch.multinomial(target_chances[-1], 1, generator=generator))]
    ### END SOLUTION
