"""JPEG decoders alike in what they return: RGB pixels, uint8, (height, width, 3), as a contiguous array.

Decoding has four steps: the bits are read (Huffman), coefficients are scaled, an inverse cosine transform makes
blocks of 8 x 8 pixels, colours are brought to full resolution and turned into RGB. A *reduced* decoder makes each
block 4 x 4, 2 x 2 or 1 x 1 pixels and so saves most of the last three steps. The first it cannot skip.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from effdl import bench, launch
from effdl.bench import Comparison

Pixels = np.ndarray
Decoder = Callable[[bytes], Pixels]
FACTORS = (8, 4, 2)


def pillow(jpeg: bytes) -> Pixels:
    """Decode with Pillow, the default of torchvision's data sets."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def opencv(jpeg: bytes) -> Pixels:
    """Decode with OpenCV, told to return RGB: BGR is its default, and a classic mistake."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)


def simple(jpeg: bytes) -> Pixels:
    """Decode with simplejpeg, a thin wrapper around libjpeg-turbo."""
    return simplejpeg.decode_jpeg(jpeg)


def simple_fast(jpeg: bytes) -> Pixels:
    """The same with its two shortcuts on: a less exact cosine transform, and colours without interpolation."""
    return simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True)


DECODERS: dict[str, Decoder] = {
    "Pillow": pillow,
    "OpenCV": opencv,
    "simplejpeg": simple,
    "simplejpeg, fast": simple_fast,
}


def add_torchvision() -> bool:
    """Add torchvision's decoder to DECODERS, where its operators load; whether they do.

    They are compiled for one build of PyTorch, and a CPU build is mostly another one.
    """
    from effdl.vision import torchvision

    def decoder(jpeg: bytes) -> Pixels:
        file = torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)
        pixels = torchvision.io.decode_jpeg(file, mode=torchvision.io.ImageReadMode.RGB)
        return pixels.permute(1, 2, 0).contiguous().numpy()

    sample = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sample, "JPEG")
    try:
        decoder(sample.getvalue())
    except RuntimeError:
        return False
    DECODERS["torchvision"] = decoder
    return True


def factor_for(size: tuple[int, int], side: int) -> int:
    """The largest of 8, 4, 2, 1 by which both edges can be divided and stay `side` pixels at least."""
    return next((factor for factor in FACTORS if min(size) // factor >= side), 1)


def pillow_draft(jpeg: bytes, side: int) -> Pixels:
    """Pillow's draft mode: no edge gets shorter than `side`, unless it was."""
    image = Image.open(io.BytesIO(jpeg))
    factor = factor_for(image.size, side)
    image.draft("RGB", (image.width // factor, image.height // factor))
    return np.asarray(image.convert("RGB"))


def opencv_reduced(jpeg: bytes, side: int) -> Pixels:
    """OpenCV's IMREAD_REDUCED_COLOR_n. It needs the size beforehand, which another library reads from the header."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    factor = factor_for((width, height), side)
    if factor == 1:
        return opencv(jpeg)
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags[factor])
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def simple_reduced(jpeg: bytes, side: int) -> Pixels:
    """simplejpeg with `min_height`, `min_width` and a `min_factor` of 2: factors in between save nothing."""
    return simplejpeg.decode_jpeg(jpeg, min_height=side, min_width=side, min_factor=2)


REDUCED: dict[str, Callable[[bytes, int], Pixels]] = {
    "Pillow, draft": pillow_draft,
    "OpenCV, reduced": opencv_reduced,
    "simplejpeg, min_factor": simple_reduced,
}


def difference(first: Pixels, second: Pixels) -> tuple[float, int]:
    """Share of the values that differ, and by how much at most. Raises ValueError for two sizes."""
    if first.shape != second.shape:
        raise ValueError(f"images of {first.shape} and {second.shape} values cannot be compared")
    apart = np.abs(first.astype(int) - second)
    return float((apart > 0).mean()), int(apart.max())


def shrink(pixels: Pixels, side: int) -> Pixels:
    """The middle of the image, with its shorter edge scaled to `side`: (side, side, 3), uint8; by OpenCV."""
    height, width, _ = pixels.shape
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = pixels[top : top + edge, left : left + edge]
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def turn(pixels: Pixels, degrees: float) -> Pixels:
    """The image turned about its middle, of the same size; what OpenCV does in as many threads as it is allowed."""
    height, width, _ = pixels.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)


class Photographs(Dataset):
    """JPEG files in memory, decoded by one of the decoders and shrunk: (3, side, side) float32 in 0 to 1.

    Args:
        threads: what each process tells OpenCV; None leaves OpenCV as it is.
        degrees: each image is turned by so many before it is shrunk, unless 0.
    """

    def __init__(
        self,
        jpegs: Sequence[bytes],
        decoder: str,
        side: int,
        threads: int | None = None,
        degrees: float = 0,
    ):
        self.jpegs, self.decoder, self.side = jpegs, decoder, side
        self.threads, self.degrees = threads, degrees

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.threads is not None:
            cv2.setNumThreads(self.threads)
        pixels = decode(self.jpegs[index], self.decoder, self.side)
        if self.degrees:
            pixels = turn(pixels, self.degrees)
        return torch.from_numpy(shrink(pixels, self.side)).permute(2, 0, 1).float().div_(255)


def decode(jpeg: bytes, decoder: str, side: int) -> Pixels:
    """Decode by a name of DECODERS or REDUCED."""
    return DECODERS[decoder](jpeg) if decoder in DECODERS else REDUCED[decoder](jpeg, side)


def processor_time(ways: Mapping[str, Callable[[], object]], pairs: int = 8) -> Comparison:
    """Seconds of processor time of each call, all threads together, in interleaved rounds.

    On a machine with nothing else to do this is the time on the clock, if a call has one thread. On a busy one it is
    still the time that the work needs, and what a call costs among workers that share the cores.
    """
    samples: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for name in order:
        ways[name]()
    for _ in range(pairs):
        for name in order:
            start = time.process_time()
            ways[name]()
            samples[name].append(time.process_time() - start)
        order.reverse()
    return Comparison(samples)


def alone(jpegs: Sequence[bytes], decoders: Sequence[str], side: int, pairs: int = 8) -> Comparison:
    """Processor time to decode all the files, in this process and nothing else."""
    ways = {name: (lambda name=name: [decode(jpeg, name, side) for jpeg in jpegs]) for name in decoders}
    return processor_time(ways, pairs)


@dataclass(frozen=True)
class Way:
    """How a loader's workers make an image: the arguments of `Photographs` after the files."""

    decoder: str
    threads: int | None = None
    degrees: float = 0


def in_loader(
    jpegs: Sequence[bytes],
    ways: Mapping[str, Way],
    side: int,
    workers: int,
    batch: int = 16,
    pairs: int = 6,
) -> Comparison:
    """Times of an epoch of a DataLoader with so many workers, which live through all epochs.

    The loaders run in a process of their own. In this one OpenCV may have started threads already, which a fork does
    not take along, and for which it may then wait in vain.
    """
    plain = {name: (way.decoder, side, way.threads, way.degrees) for name, way in ways.items()}
    arguments = (list(jpegs), plain, workers, batch, pairs)
    return Comparison(launch.run(_epochs_on_rank, 1, args=arguments, backend=None)[0])


def _epochs_on_rank(
    jpegs: list[bytes], ways: dict[str, tuple], workers: int, batch: int, pairs: int
) -> dict[str, list[float]]:
    if any(decoder == "torchvision" for decoder, *_ in ways.values()):
        add_torchvision()
    loaders = {
        name: DataLoader(
            Photographs(jpegs, *way),
            batch_size=batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers else None,
        )
        for name, way in ways.items()
    }
    try:
        runs = {name: (lambda loader=loader: sum(1 for _ in loader)) for name, loader in loaders.items()}
        times = bench.compare(runs, pairs, warmup=1)
        return {name: list(times.timings[name].samples) for name in ways}
    finally:
        for loader in loaders.values():
            stop(loader)


@dataclass(frozen=True)
class Threads:
    """Seconds to decode, turn and shrink some images, with so many threads of OpenCV."""

    calling: float
    """Processor time of the calling thread: the time on the clock where the others have cores of their own."""
    all: float
    """Processor time of all threads."""
    loader: float
    """On the clock, in a loader with workers."""


def with_threads(
    jpegs: Sequence[bytes], side: int, counts: Sequence[int], workers: int, pairs: int = 5
) -> dict[int, Threads]:
    """What a second thread does to an image, and to images in a loader."""
    before = cv2.getNumThreads()
    spent: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    try:
        for _ in range(pairs):
            for count in counts:
                cv2.setNumThreads(count)
                start = time.thread_time(), time.process_time()
                for jpeg in jpegs:
                    shrink(turn(opencv(jpeg), 10), side)
                spent[count].append((time.thread_time() - start[0], time.process_time() - start[1]))
    finally:
        cv2.setNumThreads(before)
    loaders = {str(count): Way("OpenCV", count, degrees=10) for count in counts}
    loaded = in_loader(jpegs, loaders, side, workers, batch=2, pairs=pairs)
    medians = {count: np.median(found, axis=0) for count, found in spent.items()}
    return {n: Threads(*map(float, medians[n]), loaded.median(str(n))) for n in counts}


Box = tuple[int, int, int, int]
"""Top, left, height, width of a crop, in pixels of the whole image."""


def boxes(size: tuple[int, int], count: int, seed: int = 0) -> list[Box]:
    """Crops as for training on ImageNet: 8 to 100 % of the area, edges as 3 to 4 at most; `size` is width, height."""
    width, height = size
    random, found = np.random.default_rng(seed), []
    while len(found) < count:
        area = width * height * random.uniform(0.08, 1)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        h, w = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
        if h <= height and w <= width:
            found.append((int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w))
    return found


def crop_then_resize(jpeg: bytes, box: Box, side: int) -> Pixels:
    """All pixels are decoded, the crop is cut out and scaled to (side, side, 3): the usual order."""
    top, left, height, width = box
    return _scale(simple(jpeg)[top : top + height, left : left + width], side)


def resize_then_crop(jpeg: bytes, box: Box, side: int) -> Pixels:
    """The whole image is scaled until the crop has the right size, and then cut."""
    top, left, height, width = box
    pixels = simple(jpeg)
    down, across = side / height, side / width
    size = (max(side, round(pixels.shape[1] * across)), max(side, round(pixels.shape[0] * down)))
    whole = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if down < 1 else cv2.INTER_LINEAR)
    row, column = (min(round(a), b - side) for a, b in ((top * down, size[1]), (left * across, size[0])))
    return whole[row : row + side, column : column + side]


def decode_for_crop(jpeg: bytes, box: Box, side: int) -> Pixels:
    """Only as many pixels are decoded as leave `side` in the crop; then it is cut and scaled."""
    top, left, height, width = box
    full_height, full_width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    factor = factor_for((width, height), side)
    pixels = simplejpeg.decode_jpeg(
        jpeg, min_height=full_height // factor, min_width=full_width // factor, min_factor=factor
    )
    down, across = pixels.shape[0] / full_height, pixels.shape[1] / full_width
    rows = slice(round(top * down), round((top + height) * down))
    columns = slice(round(left * across), round((left + width) * across))
    return _scale(pixels[rows, columns], side)


def _scale(pixels: Pixels, side: int) -> Pixels:
    shrinks = min(pixels.shape[:2]) > side
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


ORDERS = {
    "decode, crop, resize": crop_then_resize,
    "decode, resize, crop": resize_then_crop,
    "decode for the crop, crop, resize": decode_for_crop,
}


def orders(jpegs: Sequence[bytes], side: int, pairs: int = 8) -> tuple[Comparison, dict[str, float]]:
    """Processor time of random crops by the order of their steps; mean distance of values from the first's."""
    cases = []
    for number, jpeg in enumerate(jpegs):
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        cases += [(jpeg, box, side) for box in boxes((width, height), 4, seed=number)]
    times = processor_time(
        {name: (lambda way=way: [way(*case) for case in cases]) for name, way in ORDERS.items()}, pairs
    )
    usual = [crop_then_resize(*case).astype(int) for case in cases]
    apart = {
        name: float(np.mean([np.abs(way(*case) - u).mean() for case, u in zip(cases, usual, strict=True)]))
        for name, way in ORDERS.items()
    }
    return times, apart


def clear_flips(first: Comparison, second: Comparison, by: float = 1.1) -> int:
    """Pairs of functions of which one is faster in the first comparison and the other in the second.

    Both by a factor of `by`, and with the whole interval: of many pairs, some change places by chance.
    """
    pairs = [(a, b) for a in first.timings for b in first.timings]
    return sum(first.ratio(a, b).low > by and second.ratio(b, a).low > by for a, b in pairs)


def stop(loader: DataLoader) -> None:
    """End the workers of a loader now, and not when Python happens to drop it."""
    iterator, loader._iterator = loader._iterator, None
    if iterator is not None:
        iterator._shutdown_workers()
