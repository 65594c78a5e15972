"""A whole data-parallel training program, for torchrun:

torchrun --standalone --nproc-per-node 2 -m week03_data_parallel.train_digits
"""

import os

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from week03_data_parallel import digits


def main(epochs: int = 8) -> None:
    """Train on the digits with all ranks that torchrun has started; rank 0 reports."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    x, y = digits.images()
    data = TensorDataset(x[: digits.TRAINING], y[: digits.TRAINING])
    sampler = DistributedSampler(data)  # each rank its own share of every epoch
    loader = DataLoader(data, batch_size=32, sampler=sampler)
    model = DistributedDataParallel(digits.network())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)  # without it, every epoch has the order of the first
        for inputs, labels in loader:
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    if dist.get_rank() == 0:
        model = model.module
        print(
            f"{dist.get_world_size()} ranks under torchrun, rank 0 reports (local rank {os.environ['LOCAL_RANK']}):"
        )
        print(f"training loss {digits.training_loss(model):.3f}, accuracy {digits.accuracy(model):.3f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
