"""nbformat, without the two seconds that jsonschema spends on a grammar nobody here uses, and without its warnings
about the ids of cells, one a cell: nothing here goes by these ids (nbgrader's are others).

jsonschema imports `rfc3987_syntax` to check internationalised addresses, and that package builds a parser
when it is imported. No notebook schema has such a field. Import `nbformat` from here.
"""

import sys
import warnings

_blocked = "rfc3987_syntax" not in sys.modules
if _blocked:
    sys.modules["rfc3987_syntax"] = None  # jsonschema takes it for not installed

import nbformat  # noqa: E402

if _blocked:
    del sys.modules["rfc3987_syntax"]

from nbformat.warnings import DuplicateCellId, MissingIDFieldWarning  # noqa: E402

for _kind in (DuplicateCellId, MissingIDFieldWarning):
    warnings.filterwarnings("ignore", category=_kind)

__all__ = ["nbformat"]
