# replaces: offload.py
# caught by: offload_frees_the_activations
# mistake: waits for all copies at the first need: everything is back before the backward pass goes on
# needs: control groups, without which nobody measures memory
import torch


class Offload:
    def __init__(self, store, keep=(), smallest=1 << 16, ahead=1):
        self.store, self.smallest, self.ahead = (store, smallest, ahead)
        self.home = {tensor.untyped_storage().data_ptr() for tensor in keep}
        self.waiting = []
        self.coming = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def __enter__(self):
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)

    def _pack(self, tensor):
        if tensor.nbytes < self.smallest or tensor.untyped_storage().data_ptr() in self.home:
            return tensor
        key = self.store.put(tensor)
        self.waiting.append(key)
        return key

    def _unpack(self, saved):
        if isinstance(saved, torch.Tensor):
            return saved
        where = self.waiting.index(saved)
        started = {key: self.store.get(key) for key in self.waiting[: where + 1] if key not in self.coming}
        self.coming |= {key: copy.wait() for key, copy in started.items()}
        tensor = self.coming.pop(saved)
        self.store.drop(saved)
        self.waiting.pop(where)
        return tensor
