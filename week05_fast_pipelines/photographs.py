"""Real photographs as JPEG files of many sizes, from the three that are installed with the course's packages.

Two come with scikit-learn (CC BY 2.0, see `effdl.data.PHOTOGRAPH_CREDITS`), one with matplotlib (Grace Hopper, a
portrait by the US Navy, public domain). Crops and other qualities of them are made here, seeded.
"""

import functools
import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from effdl import data


@functools.cache
def originals() -> tuple[Image.Image, ...]:
    """Three photographs, RGB, of 640 x 427, 640 x 427 and 512 x 600 pixels."""
    portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    return tuple(image.convert("RGB") for image in [*data.photographs().values(), portrait])


def encode(image: Image.Image, quality: int = 85, progressive: bool = False) -> bytes:
    """The image as a JPEG file, with colours at half the resolution, as cameras and data sets have them."""
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality, subsampling="4:2:0", progressive=progressive)
    return target.getvalue()


def with_thumbnail(image: Image.Image) -> bytes:
    """The image as a JPEG file that has a small JPEG file of itself in its header, as cameras write them."""
    small = image.copy()
    small.thumbnail((160, 160))
    content, jpeg = b"Exif\0\0" + encode(small), encode(image)
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


@functools.cache
def whole(quality: int = 85) -> tuple[bytes, ...]:
    """The three photographs, encoded again."""
    return tuple(encode(image, quality) for image in originals())


@functools.cache
def crops(count: int, side: int, quality: int = 85, seed: int = 0) -> tuple[bytes, ...]:
    """So many square crops of `side` pixels, at random places of the three in turn, as JPEG files."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        image = originals()[number % len(originals())]
        left, top = (int(random.integers(edge - side + 1)) for edge in image.size)
        found.append(encode(image.crop((left, top, left + side, top + side)), quality))
    return tuple(found)
