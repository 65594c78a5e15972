# replaces: sampling.py
# method: words that may not come get minus infinity; the largest logit with Gumbel noise is the draw
import torch


def sample(logits, temperature=1.0, top_k=None, top_p=None, generator=None):
    if temperature == 0:
        return logits.max(-1).indices
    scaled = logits.to(torch.float64) / temperature
    if top_k is not None and top_k < scaled.shape[-1]:
        weakest = scaled.topk(top_k, dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < weakest, -torch.inf)
    if top_p is not None:
        chances = scaled.softmax(-1)
        ordered, words = chances.sort(-1, descending=True)
        gone = ordered.cumsum(-1).roll(1, -1) >= top_p
        gone[:, 0] = False
        scaled = scaled.masked_fill(torch.zeros_like(gone).scatter(-1, words, gone), -torch.inf)
    uniform = torch.rand(scaled.shape, generator=generator, dtype=torch.float64).clamp(min=1e-300)
    return (scaled - (-uniform.log()).log()).argmax(-1)
