# replaces: offload.py
# method: numbers count upwards as tensors are saved; lists of keys and of fetches, by number
import torch


class Offload:
    def __init__(self, store, keep=(), smallest=1 << 16, ahead=1):
        self.store, self.smallest, self.ahead = store, smallest, ahead
        self.kept = {t.untyped_storage().data_ptr() for t in keep}
        self.keys, self.fetches = [], []
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, self.unpack)

    def pack(self, tensor):
        small = tensor.numel() * tensor.element_size() < self.smallest
        if small or tensor.untyped_storage().data_ptr() in self.kept:
            return tensor
        self.keys.append(self.store.put(tensor.detach()))
        self.fetches.append(None)
        return len(self.keys) - 1

    def unpack(self, packed):
        if isinstance(packed, torch.Tensor):
            return packed
        for i in range(packed, max(-1, packed - self.ahead - 1), -1):
            if self.fetches[i] is None and self.keys[i] is not None:
                self.fetches[i] = self.store.get(self.keys[i])
        tensor = self.fetches[packed].wait()
        self.store.drop(self.keys[packed])
        self.fetches[packed] = self.keys[packed] = None
        return tensor

    def __enter__(self):
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)
