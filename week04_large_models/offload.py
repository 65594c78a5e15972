"""Saved tensors that spend the time between forward and backward elsewhere: in the host's memory, or in a file.

The same hooks as in `checkpoint`: `pack` hands the tensor to a store and keeps a ticket, `unpack` gets it back.
Backward needs the tensors in about the opposite order, so a store that takes its time can begin before it is asked.
"""

import tempfile
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks


class Host:
    """Keeps tensors in the host's memory: those of a GPU in pinned pages, copied on a stream of their own.

    The stream is what lets a copy run beside the kernels: on the stream of the kernels it would wait for its turn,
    and they for it. `get` calls the `ahead` tensors back that were put before. For a tensor that is on the CPU this
    is only a second copy.
    """

    def __init__(self, ahead: int = 4):
        self._ahead, self._next = ahead, 0
        self._stream: torch.cuda.Stream | None = None
        self._tickets: weakref.WeakValueDictionary[int, _OnHost] = weakref.WeakValueDictionary()

    def put(self, tensor: torch.Tensor) -> "_OnHost":
        """Begin to copy `tensor` to the host; return the ticket for it."""
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        ticket = _OnHost(self._next, copy, tensor.device)
        self._tickets[self._next] = ticket
        self._next += 1
        if not tensor.is_cuda:
            copy.copy_(tensor)
            return ticket
        self._stream = self._stream or torch.cuda.Stream(tensor.device)
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))  # its values must be there
        with torch.cuda.stream(self._stream):
            copy.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._stream)  # its memory is free only when the copy is over
        return ticket

    def get(self, ticket: "_OnHost") -> torch.Tensor:
        """The tensor, on the device from which it came."""
        if ticket.device.type != "cuda":
            return ticket.copy
        for number in range(ticket.number, ticket.number - self._ahead - 1, -1):
            self._call_back(self._tickets.get(number))
        kernels = torch.cuda.current_stream(ticket.device)
        kernels.wait_event(ticket.arrived)
        tensor, ticket.here = ticket.here, None
        if tensor is None:  # asked for twice
            return ticket.copy.to(ticket.device)
        tensor.record_stream(kernels)
        return tensor

    def _call_back(self, ticket: "_OnHost | None") -> None:
        if ticket is None or ticket.here is not None or ticket.arrived is not None:
            return
        with torch.cuda.stream(self._stream):
            ticket.here = ticket.copy.to(ticket.device, non_blocking=True)
            ticket.arrived = self._stream.record_event()


@dataclass(eq=False)
class _OnHost:
    """A tensor in the host's memory: its copy, and what is on its way back."""

    number: int
    copy: torch.Tensor
    device: torch.device
    here: torch.Tensor | None = None
    arrived: torch.cuda.Event | None = None  # when the copy back is over


@dataclass(eq=False)
class _Ticket:
    """A tensor in the file of a `Disk`: where, of what kind, and what is being done with it."""

    number: int
    offset: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    memory: torch.Tensor | None  # flat bytes: what is being written, or what has been read ahead
    job: Future


class Disk:
    """Keeps tensors in a file without a name, which disappears with its process. A thread writes and reads.

    At most `pending` tensors wait to be written: who computes faster than the disk writes has to wait, or the memory
    would fill with what should leave it. A read starts the reads of the `ahead` tensors that were put before it.
    When all tensors of a step are gone, the file is filled from its beginning again.
    """

    def __init__(self, folder: str | Path | None = None, pending: int = 4, ahead: int = 4):
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, see close()
        self._thread = ThreadPoolExecutor(1)
        self._ahead, self._pending = ahead, pending
        self._writing: deque[_Ticket] = deque()
        self._tickets: weakref.WeakValueDictionary[int, _Ticket] = weakref.WeakValueDictionary()
        self._next = 0
        self.end = 0  # bytes of the file in use
        self.waited = 0  # reads that were not finished when the tensor was needed
        self._has_read = False

    def put(self, tensor: torch.Tensor) -> _Ticket:
        """Begin to write `tensor`; return the ticket for it."""
        if self._has_read:
            # A step begins: the thread may still hold the last ticket of the one before.
            self._thread.submit(int).result()
            self._has_read = False
        if not self._tickets:
            self._next = self.end = 0
        memory = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        ticket = _Ticket(self._next, self.end, tensor.shape, tensor.dtype, tensor.device, memory, Future())
        self._tickets[self._next] = ticket
        self._writing.append(ticket)
        self._next += 1
        self.end += len(memory)
        ticket.job = self._thread.submit(self._write, ticket)
        self._free(self._pending)
        return ticket

    def get(self, ticket: _Ticket) -> torch.Tensor:
        """The tensor of a ticket, on the device from which it came."""
        self._has_read = True
        self._free(0)
        for number in range(ticket.number, ticket.number - self._ahead - 1, -1):
            self._start_reading(self._tickets.get(number))
        self.waited += not ticket.job.done()
        ticket.job.result()
        tensor, ticket.memory = ticket.memory.view(ticket.dtype).view(ticket.shape), None
        return tensor.to(ticket.device)

    def close(self) -> None:
        """Give file and thread back. Tensors that were not fetched are lost."""
        self._thread.shutdown()
        self._file.close()

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _free(self, left: int) -> None:
        """Let go of the memory of tensors that were written, waiting until at most `left` are unfinished."""
        while self._writing and (len(self._writing) > left or self._writing[0].job.done()):
            ticket = self._writing.popleft()
            ticket.job.result()
            ticket.memory = None

    def _start_reading(self, ticket: _Ticket | None) -> None:
        if ticket is not None and ticket.memory is None:
            # This thread allocates and frees, the other one only fills: PyTorch's record of memory is one thread's.
            nbytes = ticket.dtype.itemsize * ticket.shape.numel()
            ticket.memory = torch.empty(nbytes, dtype=torch.uint8)
            ticket.job = self._thread.submit(self._read, ticket)

    def _write(self, ticket: _Ticket) -> None:
        self._file.seek(ticket.offset)
        view = memoryview(ticket.memory.numpy())
        while view:
            view = view[self._file.write(view) :]

    def _read(self, ticket: _Ticket) -> None:
        self._file.seek(ticket.offset)
        view = memoryview(ticket.memory.numpy())
        while view:
            view = view[self._file.readinto(view) :]


class offload(saved_tensors_hooks):
    """Inside, autograd's saved tensors of at least `at_least` bytes go to `store`.

    Tensors in `besides`, usually the parameters, are in memory anyway and stay. Small ones stay as well: each move
    has a fixed cost. Rhu et al., vDNN, MICRO 2016; Ren et al., ZeRO-Offload, USENIX ATC 2021.

    ```python
    with Disk() as disk:
        with offload(disk, besides=model.parameters()):
            loss = model(x).sum()
        loss.backward()
    ```
    """

    def __init__(self, store: Host | Disk, besides: Iterable[torch.Tensor] = (), at_least: int = 2**14):
        known = {tensor.untyped_storage().data_ptr() for tensor in besides}

        def pack(tensor: torch.Tensor):
            stays = tensor.untyped_storage().data_ptr() in known or tensor.nbytes < at_least
            # Detached: a node that held its own output with its history would keep itself alive.
            return (None, tensor.detach()) if stays else (store.put(tensor), None)

        def unpack(packed):
            ticket, tensor = packed
            return tensor if ticket is None else store.get(ticket)

        super().__init__(pack, unpack)
