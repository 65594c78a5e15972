"""One data set in three layouts: a file for each sample, tar shards, and an Arrow table that is mapped into memory.

A sample is (JPEG bytes, label). Each layout is a class with the same three abilities: `write`, read all `in_order`,
read one `at` an index. Files are opened anew by each object, so that a fresh object after `page_cache.evict` is cold.
"""

import io
import os
import random
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

os.environ["HF_DATASETS_OFFLINE"] = "1"  # read while the library is imported; this data set is nowhere else
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import datasets
import webdataset

from effdl.bench import Comparison
from week05_fast_pipelines import page_cache

datasets.disable_progress_bars()

Item = TypeVar("Item")
Sample = tuple[bytes, int]
BLOCK = 512
"""A tar file is a row of blocks of so many bytes: a header, then the content, filled up to whole blocks."""


class Files:
    """A file for each sample; the label is in the name."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.jpg"))

    @staticmethod
    def write(folder: Path, samples: Sequence[Sample]) -> None:
        """Write the samples into an empty folder."""
        for index, (content, label) in enumerate(samples):
            (folder / f"{index:06d}_{label}.jpg").write_bytes(content)

    def in_order(self) -> Iterator[Sample]:
        """All samples."""
        return (self.at(index) for index in range(len(self.paths)))

    def at(self, index: int) -> Sample:
        """The sample with this number."""
        path = self.paths[index]
        return path.read_bytes(), int(path.stem.partition("_")[2])


class Shards:
    """Tar files of `per_shard` samples; the files of a sample, NAME.jpg and NAME.cls, stand side by side."""

    per_shard = 500

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.tar"))

    @classmethod
    def write(cls, folder: Path, samples: Sequence[Sample]) -> None:
        """Write the samples into an empty folder."""
        for start in range(0, len(samples), cls.per_shard):
            names, contents = [], []
            for index, (content, label) in enumerate(samples[start : start + cls.per_shard], start):
                names += [f"{index:06d}.jpg", f"{index:06d}.cls"]
                contents += [content, str(label).encode()]
            (folder / f"{start // cls.per_shard:04d}.tar").write_bytes(shard_of(names, contents))

    def in_order(self) -> Iterator[Sample]:
        """All samples, front to back: one open file at a time, which is only ever read forwards."""
        for path in self.paths:
            with tarfile.open(path, "r|") as shard:
                parts = (shard.extractfile(member).read() for member in shard)
                for content in parts:
                    yield content, int(next(parts))

    def at(self, index: int) -> Sample:
        """The sample with this number: a tar file has no table of contents, so all before it is read."""
        shard = type(self).__new__(type(self))
        shard.paths = [self.paths[index // self.per_shard]]
        for number, sample in enumerate(shard.in_order()):
            if number == index % self.per_shard:
                return sample
        raise IndexError(index)


class IndexedShards(Shards):
    """The same files, and where each sample lies in them: what the reader of the exercise builds."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.files = [open(path, "rb", buffering=0) for path in self.paths]  # noqa: SIM115 - closed below
        self.places = []  # (shard, offset, bytes of the image, bytes of the label)
        for number, path in enumerate(self.paths):
            with tarfile.open(path) as shard:
                members = shard.getmembers()
            pairs = zip(members[::2], members[1::2], strict=True)
            self.places += [(number, image.offset_data, image.size, label.size) for image, label in pairs]

    def at(self, index: int) -> Sample:
        """The sample with this number, by one read: the label lies one block behind the end of the image."""
        shard, offset, image, label = self.places[index]
        between = -image % BLOCK + BLOCK
        content = os.pread(self.files[shard].fileno(), image + between + label, offset)
        return content[:image], int(content[image + between :])

    def __del__(self):
        for file in self.files:
            file.close()


class Arrow:
    """A table with the columns `jpg` and `cls`, in a file that is mapped into memory: `datasets` reads it."""

    def __init__(self, folder: Path):
        self.table = datasets.load_from_disk(str(folder), keep_in_memory=False)

    @staticmethod
    def write(folder: Path, samples: Sequence[Sample]) -> None:
        """Write the samples into an empty folder."""
        contents, labels = zip(*samples, strict=True)
        columns = {"jpg": datasets.Value("binary"), "cls": datasets.Value("int64")}
        rows = {"jpg": list(contents), "cls": list(labels)}
        datasets.Dataset.from_dict(rows, datasets.Features(columns)).save_to_disk(str(folder))

    def in_order(self) -> Iterator[Sample]:
        """All samples."""
        return ((row["jpg"], row["cls"]) for row in self.table)

    def at(self, index: int) -> Sample:
        """The sample with this number."""
        row = self.table[index]
        return row["jpg"], row["cls"]


class WebDataset(Shards):
    """Our shards as the library `webdataset` reads them."""

    def in_order(self) -> Iterator[Sample]:
        """All samples."""
        shards = webdataset.WebDataset([str(path) for path in self.paths], shardshuffle=False)
        return ((sample["jpg"], int(sample["cls"])) for sample in shards)


def shuffled(samples: Iterable[Item], size: int, seed: int = 0) -> Iterator[Item]:
    """The samples through a shuffle buffer: `size` of them wait, and a random one leaves for each that comes.

    A stream cannot be permuted, and this is what replaces it. A sample leaves at most `size` places early.
    """
    generator, waiting = random.Random(seed), []
    for sample in samples:
        waiting.append(sample)
        if len(waiting) > size:
            place = generator.randrange(len(waiting))
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            yield waiting.pop()
    generator.shuffle(waiting)
    yield from waiting


def classes_in_batch(labels: Iterable[int], batch: int) -> float:
    """Mean number of different labels in a batch; a last batch that is not full is left out."""
    labels = list(labels)
    starts = range(0, len(labels) - batch + 1, batch)
    return sum(len(set(labels[start : start + batch])) for start in starts) / len(starts)


def mixing(count: int, classes: int, batch: int, buffer: int, shard: int) -> dict[str, float]:
    """Different labels in a batch, for `count` samples that lie on the disk sorted by their label, by way to shuffle.

    `shard` samples are in a shard; the shards can be read in another order, the samples inside cannot.
    """
    labels = [index * classes // count for index in range(count)]
    shards = [labels[start : start + shard] for start in range(0, count, shard)]
    random.Random(1).shuffle(shards)
    moved = [label for part in shards for label in part]
    permuted = random.Random(1).sample(labels, count)
    ways = {
        "as stored": labels,
        f"buffer of {buffer}": shuffled(labels, buffer),
        f"buffer of {10 * buffer}": shuffled(labels, 10 * buffer),
        f"shards in random order, buffer of {buffer}": shuffled(moved, buffer),
        f"shards in random order, buffer of {10 * buffer}": shuffled(moved, 10 * buffer),
        "permuted before writing, as stored": permuted,
    }
    return {name: classes_in_batch(way, batch) for name, way in ways.items()}


LAYOUTS = {"small files": Files, "tar shards": Shards, "tar shards, indexed": IndexedShards, "Arrow": Arrow}


def write_all(root: Path, samples: Sequence[Sample]) -> dict[str, Path]:
    """Write the samples in each layout; the folder of each name of `LAYOUTS` (the tar files are written once)."""
    folders = {}
    for name, layout in LAYOUTS.items():
        folder = folders[name] = root / name.partition(",")[0].replace(" ", "-")
        if not folder.exists():
            folder.mkdir()
            layout.write(folder, samples)
    return folders


def shard_of(names: Sequence[str], contents: Sequence[bytes]) -> bytes:
    """A tar file in memory."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as shard:
        for name, content in zip(names, contents, strict=True):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            shard.addfile(header, io.BytesIO(content))
    return target.getvalue()


def data_files(folder: Path) -> list[Path]:
    """The files of a layout."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Reading:
    """One way to read a layout, once."""

    seconds: float
    """Of one sample, opening of the data set not counted."""
    cached: tuple[float, float]
    """Share of the files' pages in the page cache before and after."""
    counts: page_cache.Counts


ORDERS = ("in order", "at random")


def read(name: str, folder: Path, order: str, cold: bool, count: int, seed: int) -> Reading:
    """Read a layout once: all in order, or `count` samples at random. Pages are evicted first where `cold`."""
    layout = {**LAYOUTS, "webdataset": WebDataset}[name](folder)
    files, total = data_files(folder), _length(layout)
    if cold:
        # After the opening: an index is kept in memory, and need not be read again.
        page_cache.evict(files)
    before = page_cache.resident(files)
    places = random.Random(seed).sample(range(total), min(count, total)) if order == "at random" else []
    with page_cache.counting([folder]) as counts:
        start = time.perf_counter()
        if order == "in order":
            done = sum(1 for _ in layout.in_order())
        else:
            done = sum(1 for place in places if layout.at(place))
        seconds = (time.perf_counter() - start) / done
    return Reading(seconds, (before, page_cache.resident(files)), counts)


def _length(layout: Files | Shards | Arrow) -> int:
    """Samples in a layout."""
    if isinstance(layout, Files):
        return len(layout.paths)
    if isinstance(layout, Arrow):
        return len(layout.table)
    with tarfile.open(layout.paths[-1]) as last:
        return (len(layout.paths) - 1) * layout.per_shard + len(last.getmembers()) // 2


def race(
    folders: dict[str, Path], rounds: int, count: int = 200
) -> dict[tuple[str, str, bool], list[Reading]]:
    """Readings of each layout, (name, order, cold), in interleaved rounds.

    At random, `count` samples are read, but 5 where each is a scan through a shard. `webdataset` reads the folder of
    the tar shards, in order only. Files are read once before a warm reading.
    """
    folders = {**folders, "webdataset": folders["tar shards"]}
    # An index does not change what a stream does, and a WebDataset is nothing but a stream.
    missing = {("webdataset", "at random"), ("tar shards, indexed", "in order")}
    pairs = [(name, order) for name in folders for order in ORDERS if (name, order) not in missing]
    cases = [(*pair, cold) for pair in pairs for cold in (True, False)]
    found: dict[tuple[str, str, bool], list[Reading]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            name, order, cold = case
            if not cold:
                for path in data_files(folders[name]):
                    path.read_bytes()
            samples = 5 if name == "tar shards" else count
            found[case].append(read(name, folders[name], order, cold, samples, seed=number))
        cases.reverse()
    return found


def compared(found: dict[tuple[str, str, bool], list[Reading]]) -> Comparison:
    """The same as times that can be compared, under the names "small files, in order, cold"."""
    return Comparison(
        {
            f"{name}, {order}, {'cold' if cold else 'warm'}": [reading.seconds for reading in readings]
            for (name, order, cold), readings in found.items()
        }
    )


def rewritten(folders: dict[str, Path]) -> dict[str, int]:
    """Bytes of the file that must be written anew to change the first sample."""
    return {
        name: max(data_files(folder)[:2], key=_is_data).stat().st_size for name, folder in folders.items()
    }


def _is_data(path: Path) -> bool:
    return path.suffix in (".jpg", ".tar", ".arrow")
