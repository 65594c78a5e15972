"""Writes lone surrogates, NUL, separators and escape sequences into sources, ids and keys.

Must: trip nothing, and write nothing that a database or a terminal cannot hold.
"""

import json

FAMILY = "harm"
FEEDBACK = True
FAST = True
DESERVES = {"lab": 3, "part": 4}


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(right["sums.py"])
    odd = "\ud800\0\u2028\u2029\x1b[31m\u202e\ufeff\uffff\x85"
    for name in ("lab.ipynb", "part1.ipynb"):
        notebook = json.loads(right[name])
        for cell in notebook["cells"]:
            identity = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
            if identity in ("mean", "essay"):
                cell["source"] += f"\n{odd}"
            cell["metadata"][odd] = odd
        notebook["cells"].append({"cell_type": odd, "id": odd, "metadata": {}, "source": odd})
        notebook["cells"].append({"cell_type": "markdown", "id": "x", "metadata": {}, "source": odd})
        notebook["metadata"]["kernelspec"]["display_name"] = odd
        (folder / name).write_text(json.dumps(notebook))
