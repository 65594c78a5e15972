# replaces: offload.py
# method: each saved tensor is a record that knows the one before it, and starts those on its way
import torch


class Saved:
    def __init__(self, store, tensor, before):
        self.store, self.key, self.before = store, store.put(tensor), before
        self.coming = None

    def start(self):
        if self.coming is None:
            self.coming = self.store.get(self.key)

    def take(self, ahead):
        self.start()
        record = self.before
        while record is not None and ahead > 0:
            if record.key is not None:
                record.start()
                ahead -= 1
            record = record.before
        tensor = self.coming.wait()
        self.store.drop(self.key)
        self.key = self.coming = None
        return tensor


class Offload:
    def __init__(self, store, keep=(), smallest=1 << 16, ahead=1):
        self.store, self.smallest, self.ahead = store, smallest, ahead
        self.memories = [(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) for t in keep]
        self.latest = None

    def _stays(self, tensor):
        if tensor.nbytes < self.smallest:
            return True
        return any(start <= tensor.data_ptr() < start + n for start, n in self.memories)

    def _pack(self, tensor):
        if self._stays(tensor):
            return None, tensor.detach()
        self.latest = Saved(self.store, tensor, self.latest)
        return self.latest, None

    def _unpack(self, packed):
        record, tensor = packed
        return tensor if record is None else record.take(self.ahead)

    def __enter__(self):
        self.context = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
        self.context.__enter__()
        return self

    def __exit__(self, *error):
        self.latest = None
        return self.context.__exit__(*error)
