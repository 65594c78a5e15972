"""Takes a gigabyte of fresh memory in every way there is, and looks for what its last owner left.

Must: learn nothing; the kernel hands out zeros.
"""

FAMILY = "secrets"
TARGET = "words"

import ctypes
import mmap
import os


def count(text):
    block = 64 << 20
    for number in range(6):
        fresh = mmap.mmap(-1, block)
        if fresh.find(b"canary-") >= 0:
            print(fresh[fresh.find(b"canary-") :][:64])
        fresh.close()
        descriptor = os.memfd_create(f"fresh{number}")
        os.ftruncate(descriptor, block)
        with mmap.mmap(descriptor, block) as shared:
            at = shared.find(b"canary-")
            if at >= 0:
                print(shared[at : at + 64])
        os.close(descriptor)
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    for size in (64, 512, 4096, 65536) * 500:
        data = ctypes.string_at(malloc(size), size)
        if b"canary-" in data:
            print(data)
    return {}
