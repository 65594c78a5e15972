# replaces: model.py
# method: PyTorch's scaled_dot_product_attention and F.dropout under a seed of its own
# differs: its numbers are rounded in another order, its new weights and its dropout are other random numbers
import torch
import torch.nn.functional as F

IGNORED = -100


def initial(config, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed + 17)
        width, weights = config["width"], {"norm": torch.ones(config["width"])}
        small = 0.02 / (2 * config["layers"]) ** 0.5
        for layer in reversed(range(config["layers"])):
            weights[f"{layer}.down"] = torch.normal(0.0, small, (4 * width, width))
            weights[f"{layer}.up"] = torch.normal(0.0, 0.02, (width, 4 * width))
            weights[f"{layer}.out"] = torch.normal(0.0, small, (width, width))
            weights[f"{layer}.qkv"] = torch.normal(0.0, 0.02, (width, 3 * width))
            weights[f"{layer}.norm1"] = torch.ones(width)
            weights[f"{layer}.norm2"] = torch.ones(width)
        weights["position"] = torch.normal(0.0, 0.02, (config["most"], width))
        weights["token"] = torch.normal(0.0, 0.02, (config["words"], width))
    return weights


def forward(weights, tokens, config, seed=None):
    if tokens.shape[1] > len(weights["position"]):
        raise ValueError("too long")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        drop = config["dropout"] if seed is not None else 0.0
        shape, heads = (config["width"],), config["heads"]
        x = F.embedding(tokens, weights["token"]) + weights["position"][None, : tokens.shape[1]]
        for layer in range(config["layers"]):
            mixed = F.layer_norm(x, shape, weights[f"{layer}.norm1"]) @ weights[f"{layer}.qkv"]
            q, k, v = mixed.view(*tokens.shape, 3, heads, -1).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.dropout(seen.transpose(1, 2).reshape(x.shape) @ weights[f"{layer}.out"], drop)
            inner = F.relu(F.layer_norm(x, shape, weights[f"{layer}.norm2"]) @ weights[f"{layer}.up"])
            x = x + F.dropout(inner @ weights[f"{layer}.down"], drop)
    return F.linear(F.layer_norm(x, shape, weights["norm"]), weights["token"])


def loss(logits, targets):
    kept = targets != IGNORED
    chances = logits[kept].log_softmax(-1)
    return -chances.gather(1, targets[kept][:, None]).sum(), int(kept.sum())
