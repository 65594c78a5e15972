"""From the bytes of a request to the pixels of a digit, or to the status that says what is wrong with them."""

import io

import numpy as np
from PIL import Image

SIDE = 8
TYPES = {"image/png": "PNG", "image/jpeg": "JPEG"}


class Refused(Exception):
    """A request that is not served: `status` is HTTP's, `reason` is one sentence for the sender."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


def decode(body: bytes, kind: str, pixels: int = 2**20) -> np.ndarray:
    """Pixels (8, 8) of float32 in 0 (paper) to 1 (ink) of a PNG or JPEG file with light ink on a dark ground.

    Args:
        body: the file.
        kind: what the sender says it is: the Content-Type, in small letters and without parameters.
        pixels: most pixels that we unpack. A PNG of 100 kB can hold a hundred million equal ones.

    Raises:
        Refused: 415 for another type, 400 for bytes that are no such file, 422 for too many pixels.
    """
    if kind not in TYPES:
        raise Refused(415, f"Content-Type {kind[:40]!r}: send image/png or image/jpeg")
    try:
        with Image.open(io.BytesIO(body), formats=[TYPES[kind]]) as image:
            width, height = image.size  # from the header: nothing is unpacked yet
            if width * height > pixels:
                raise Refused(422, f"{width} x {height} pixels: send at most {pixels}")
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow raises SyntaxError for some broken PNG files.
        raise Refused(400, f"the body is no whole {TYPES[kind]} file") from error
    return np.asarray(small, np.float32) / 255


def encode(pixels: np.ndarray, side: int = 32, kind: str = "image/png") -> bytes:
    """A file of side x side pixels of a digit (8, 8) in 0 to 1: what a client sends."""
    image = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    file = io.BytesIO()
    image.resize((side, side), Image.Resampling.NEAREST).save(file, TYPES[kind])
    return file.getvalue()
