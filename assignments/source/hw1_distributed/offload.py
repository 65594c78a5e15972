"""Activations that wait for the backward pass in another memory, and are back in time.

The other memory is a *store*, as the host's memory is for a GPU. What it offers:

    key = store.put(tensor)    copy a tensor to the store; returns when the copy is complete
    fetch = store.get(key)     start to copy it back, and return at once
    tensor = fetch.wait()      wait until it is here; a contiguous tensor of the same shape and dtype
    store.drop(key)            free the store's copy

Copies back happen one after the other, in the order in which they were started, while the caller computes.
"""

from collections.abc import Iterable

import torch


class Offload:
    """Within `with Offload(store, keep=model.parameters()):`, what autograd saves goes to the store.

    Stays here: what has fewer than `smallest` bytes, and whatever lies in the memory of a tensor of `keep`. The
    rest is handed over when it is saved; no copy of it stays. Backward needs the saved tensors from the last to
    the first: when it asks for one, the `ahead` tensors before that are already on their way, or are started.
    What has come back is dropped from the store. A graph is used for one backward pass.
    """

    def __init__(self, store, keep: Iterable[torch.Tensor] = (), smallest: int = 1 << 16, ahead: int = 1):
        self.store, self.smallest, self.ahead = store, smallest, ahead
        ### BEGIN SOLUTION
        self.home = {tensor.untyped_storage().data_ptr() for tensor in keep}
        self.waiting: list[int] = []  # keys in the store, in the order of forward
        self.coming: dict[int, object] = {}  # fetches under way, by key
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
        ### END SOLUTION

    def __enter__(self):
        """Start to hand saved tensors over."""
        ### BEGIN SOLUTION
        self.hooks.__enter__()
        return self
        ### END SOLUTION

    def __exit__(self, *error) -> None:
        """End it; backward, which comes later, still finds its tensors."""
        ### BEGIN SOLUTION
        self.hooks.__exit__(*error)
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _pack(self, tensor: torch.Tensor) -> torch.Tensor | int:
        if tensor.nbytes < self.smallest or tensor.untyped_storage().data_ptr() in self.home:
            return tensor
        key = self.store.put(tensor)
        self.waiting.append(key)
        return key

    def _unpack(self, saved: torch.Tensor | int) -> torch.Tensor:
        if isinstance(saved, torch.Tensor):
            return saved
        where = self.waiting.index(saved)
        for key in reversed(self.waiting[max(0, where - self.ahead) : where + 1]):
            if key not in self.coming:
                self.coming[key] = self.store.get(key)
        tensor = self.coming.pop(saved).wait()
        self.store.drop(saved)
        self.waiting.pop(where)
        return tensor

    ### END SOLUTION
