# replaces: model.py
# method: einsum, a norm by hand, and NumPy's random numbers
# differs: its numbers are rounded in another order, its new weights and its dropout are other random numbers
import numpy as np
import torch

IGNORED = -100


def initial(config, seed):
    random, width = np.random.default_rng([seed, 5]), config["width"]
    shapes = {"token": (config["words"], width), "position": (config["most"], width)}
    for layer in range(config["layers"]):
        for name, shape in (
            ("norm1", (width,)),
            ("qkv", (width, 3 * width)),
            ("out", (width, width)),
            ("norm2", (width,)),
            ("up", (width, 4 * width)),
            ("down", (4 * width, width)),
        ):
            shapes[f"{layer}.{name}"] = shape
    weights = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            weights[name] = torch.ones(shape)
            continue
        numbers = random.standard_normal(shape, dtype=np.float32) * 0.02
        if name.endswith((".out", ".down")):
            numbers /= np.sqrt(2 * config["layers"], dtype=np.float32)
        weights[name] = torch.from_numpy(numbers).clone()
    return weights | {"norm": torch.ones(width)}


def norm(x, weight):
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-5) * weight


def forward(weights, tokens, config, seed=None):
    batch, length = tokens.shape
    if length > config["most"]:
        raise ValueError(f"{length} > {config['most']}")
    random = None if seed is None or not config["dropout"] else np.random.default_rng(seed)

    def dropped(x):
        if random is None:
            return x
        kept = torch.from_numpy(random.random(tuple(x.shape)) >= config["dropout"])
        return torch.where(kept, x / (1 - config["dropout"]), torch.zeros(()))

    x = weights["token"][tokens] + weights["position"][torch.arange(length)]
    for layer in range(config["layers"]):
        mixed = norm(x, weights[f"{layer}.norm1"]) @ weights[f"{layer}.qkv"]
        q, k, v = (part.reshape(batch, length, config["heads"], -1) for part in mixed.chunk(3, -1))
        scores = torch.einsum("bihd,bjhd->bhij", q, k) * q.shape[-1] ** -0.5
        scores = torch.where(torch.ones(length, length).tril() > 0, scores, -torch.inf)
        seen = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).reshape(batch, length, -1)
        x = x + dropped(seen @ weights[f"{layer}.out"])
        inner = (norm(x, weights[f"{layer}.norm2"]) @ weights[f"{layer}.up"]).clamp_min(0)
        x = x + dropped(inner @ weights[f"{layer}.down"])
    return torch.einsum("bid,wd->biw", norm(x, weights["norm"]), weights["token"])


def loss(logits, targets):
    rows = logits.reshape(-1, logits.shape[-1])
    flat = targets.reshape(-1)
    places = (flat != IGNORED).nonzero()[:, 0]
    picked = rows[places, flat[places]]
    return (rows[places].logsumexp(-1) - picked).sum(), len(places)
