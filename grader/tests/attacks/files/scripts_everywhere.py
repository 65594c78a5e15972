"""Writes scripts, handlers and links that run into sources, outputs, tracebacks, essays and attachments.

Must: run nothing in the browser of whoever opens the feedback.
"""

import json

FAMILY = "harm"
FEEDBACK = True
FAST = True
DESERVES = {"lab": 7}

HOSTILE = """<script>pwned()</script><img src=x onerror="pwned()"><svg onload=pwned()>
<iframe src="javascript:pwned()"></iframe><a href="java&#10;script:pwned()">a</a>
[b](javascript:pwned()) [c](data:text/html,<script>pwned()</script>) <math><mtext></form><form><mglyph><style></math>
<img src onerror=pwned()> $\\unicode{<img src=1 onerror=pwned()>}$ <details open ontoggle=pwned()>
</textarea></title></style></script><script>pwned()</script> <base href="javascript:pwned()//">
"""


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(f"raise ValueError({HOSTILE!r})")
    for name in ("lab.ipynb", "part1.ipynb"):
        notebook = json.loads(right[name])
        for cell in notebook["cells"]:
            identity = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
            if identity == "essay" or cell["cell_type"] == "markdown":
                cell["source"] = HOSTILE
                cell["attachments"] = {"x.svg": {"image/svg+xml": HOSTILE}}
        shown = (
            f"from IPython.display import *\ndisplay(HTML({HOSTILE!r}), SVG('<svg onload=pwned()></svg>'))\n"
        )
        shown += (
            f"display(Javascript('pwned()'), Markdown({HOSTILE!r}), Latex({HOSTILE!r}))\nprint({HOSTILE!r})\n"
        )
        shown += f"# {HOSTILE.splitlines()[0]}\nraise ValueError({HOSTILE!r})"
        notebook["cells"].insert(
            1,
            {
                "cell_type": "code",
                "id": "own",
                "metadata": {},
                "source": shown,
                "outputs": [],
                "execution_count": 1,
            },
        )
        notebook["cells"].append({"cell_type": "markdown", "id": "end", "metadata": {}, "source": HOSTILE})
        (folder / name).write_text(json.dumps(notebook))
