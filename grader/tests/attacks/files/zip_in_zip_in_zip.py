"""Packs a zip file into a zip file, ten times.

Must: be unpacked once or twice, and never without a limit.
"""

import io
import zipfile

FAMILY = "harm"


def make(folder, right):
    data = b"print('deep')"
    for index in range(10):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"level{index}.zip" if index else "sums.txt", data)
        data = buffer.getvalue()
    folder.with_name(f"{folder.name}.zip").write_bytes(data)
