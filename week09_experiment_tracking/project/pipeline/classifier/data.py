"""From the raw table to images, to a split that stays when data are added, to batches."""

import zlib
from pathlib import Path

import numpy as np

SIDE, LARGEST = 8, 16
"""An image is 8 x 8; a pixel is 0 to 16."""


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tables of a folder, in the order of their names: images [n, 64] uint8, labels [n] and source [n] int64.

    A row of a table has 64 pixels and the label; its source is the number of its table. Raises ValueError for a pixel
    or a label out of range.
    """
    tables = [
        np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2) for path in sorted(folder.glob("*.csv"))
    ]
    table, source = np.concatenate(tables), np.repeat(np.arange(len(tables)), [len(one) for one in tables])
    images, labels = table[:, :-1], table[:, -1]
    if images.min() < 0 or images.max() > LARGEST or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{folder}: pixels must be 0 to {LARGEST}, labels 0 to 9")
    return images.astype(np.uint8), labels, source


def held_out(images: np.ndarray, share: float, salt: str = "") -> np.ndarray:
    """Which images belong to the test set, (n,) bool: decided by each image's own bytes.

    The same image is always on the same side, whatever else is in the data, and however often it occurs.
    """
    hashes = [zlib.crc32(salt.encode() + image.tobytes()) for image in images]
    return np.array(hashes, np.float64) < share * 2**32


def scaled(images: np.ndarray) -> np.ndarray:
    """Pixels as float32 between 0 and 1. No statistics of the data: nothing to leak, nothing to forget in service."""
    return images.astype(np.float32) / LARGEST


def shifted(images: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Images [n, 64] moved by dx pixels to the right and dy down; what comes in is empty."""
    square = images.reshape(-1, SIDE, SIDE)
    moved = np.zeros_like(square)
    top, left = max(dy, 0), max(dx, 0)
    bottom, right = SIDE + min(dy, 0), SIDE + min(dx, 0)
    moved[:, top:bottom, left:right] = square[:, top - dy : bottom - dy, left - dx : right - dx]
    return moved.reshape(images.shape)


def augmented(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images and their copies moved by one pixel to four sides. For training images only."""
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    return np.concatenate([shifted(images, *move) for move in moves]), np.tile(labels, len(moves))


def batches(count: int, size: int, order: np.ndarray) -> list[np.ndarray]:
    """`order`, which holds 0 to count - 1, cut into batches; a last one that is shorter is kept."""
    if sorted(order) != list(range(count)):
        raise ValueError("order must hold every index once")
    return [order[start : start + size] for start in range(0, count, size)]
