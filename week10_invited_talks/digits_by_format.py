"""One small net on handwritten digits, whose feature maps wait for the backward pass in few bits or in all."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from week10_invited_talks import footprint


def accuracy(bits: int, seed: int, epochs: int = 4) -> float:
    """Train on 1,297 digits and return the share of 500 others that are read rightly.

    What waits for the backward pass is kept in so many `bits`, 4, 8 or 16; 0 keeps it exactly.
    """
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[500:], order[:500]
    torch.manual_seed(seed)
    net = footprint.network([16, 32], 8, gist=True, colours=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(64):
            with footprint.encoded(lambda x: footprint.Reduced(x, bits)) if bits else nullcontext():
                loss = F.cross_entropy(net(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return float((net(images[test]).argmax(1) == labels[test]).float().mean())
