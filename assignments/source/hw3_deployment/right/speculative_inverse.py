# replaces: speculative.py
# method: plain Python; a draw is the first word at which the running sum exceeds a uniform number
import torch


def uniform(generator):
    return torch.rand(1, generator=generator, dtype=torch.float64).item()


def draw(weights, generator):
    place = uniform(generator) * sum(weights)
    for word, weight in enumerate(weights):
        place -= weight
        if place < 0:
            return word
    return max(range(len(weights)), key=weights.__getitem__)


def verify(draft, draft_chances, target_chances, generator=None):
    offered, wanted, out = draft_chances.tolist(), target_chances.tolist(), []
    for place, token in enumerate(draft.tolist()):
        p, q = wanted[place], offered[place]
        if uniform(generator) >= p[token] / q[token]:
            out.append(draw([max(0.0, a - b) for a, b in zip(p, q, strict=True)], generator))
            return out
        out.append(token)
    out.append(draw(wanted[len(draft)], generator))
    return out
