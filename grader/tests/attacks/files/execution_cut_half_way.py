"""Saved its notebook while it ran: counts missing, an output of KeyboardInterrupt, a cell that was never run.

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
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for index, cell in enumerate(code):
        cell["execution_count"] = index + 1 if index < 3 else None
        cell["metadata"]["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    code[2]["outputs"] = [
        {
            "output_type": "error",
            "ename": "KeyboardInterrupt",
            "evalue": "",
            "traceback": ["\x1b[0;31mKeyboard"],
        }
    ]
    code[3]["outputs"] = None
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
