"""Which package of the standard library a docstring comes from: `python -m week08_compress_models.bench.label`.

Writes `pretrained/labelled.json.xz` from the docstrings of the bundled validation and calibration texts, which no
model was trained on. It needs the Python that those texts come from (3.11); the course only reads the file.
"""

import ast
import inspect
import json
import lzma
import sysconfig
import warnings
from pathlib import Path

from effdl.data import FOLDERS_LEFT_OUT
from week08_compress_models import language_model as lm
from week08_compress_models import transfer


def main() -> None:
    held = (lm.text("validation") + lm.text("calibration")).decode()
    root, found = Path(sysconfig.get_path("stdlib")), {}
    warnings.simplefilter("ignore")
    for path in sorted(root.rglob("*.py")):
        package, *_ = path.relative_to(root).parts
        if FOLDERS_LEFT_OUT & set(path.relative_to(root).parts) or package not in transfer.PACKAGES:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
                if len(text.split()) >= 10 and text in held:
                    found.setdefault(text, package)
    rows = [[transfer.PACKAGES.index(package), text] for text, package in found.items()]
    packed = lzma.compress(json.dumps(rows, ensure_ascii=False).encode(), preset=9)
    transfer.FILE.write_bytes(packed)
    print(len(rows), "docstrings,", len(packed), "bytes packed")


if __name__ == "__main__":
    main()
