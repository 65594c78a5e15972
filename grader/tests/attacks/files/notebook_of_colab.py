"""Hands in a notebook as Colab saves it: its own metadata, no cell ids, outputs with extra keys.

Must: get full credit.
"""

import json

FAMILY = "accident"
FEEDBACK = True
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    notebook = json.loads(right["lab.ipynb"])
    notebook["nbformat_minor"] = 0
    notebook["metadata"] = {
        "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",
        "widgets": {
            "application/vnd.jupyter.widget-state+json": {"state": {"a": {"model_name": "HBoxModel"}}}
        },
    }
    for cell in notebook["cells"]:
        del cell["id"]
        cell["metadata"]["id"] = "aBcDeF123456"
        cell["metadata"]["outputId"] = "12345678-9abc"
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"] = [
                {
                    "output_type": "stream",
                    "name": "stderr",
                    "text": ["100%|#####| 10/10"],
                    "metadata": {"tags": None},
                }
            ]
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
