"""Hands in a notebook as VS Code saves it: no ids, languages per cell, an interpreter's hash, no kernel.

Must: get full credit.
"""

import json

FAMILY = "accident"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    notebook = json.loads(right["lab.ipynb"])
    notebook["nbformat_minor"] = 2
    notebook["metadata"] = {
        "kernelspec": {"display_name": ".venv (3.11.2)", "language": "python", "name": "venv-of-mine"},
        "orig_nbformat": 4,
        "vscode": {"interpreter": {"hash": "0" * 64}},
    }
    for cell in notebook["cells"]:
        del cell["id"]
        cell["metadata"]["vscode"] = {"languageId": "python"}
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
