"""A small project whose stages you describe in `dvc.yaml`. Read it: each script shows what it reads and writes.

`python checks/part2_project.py FOLDER` writes it into a new folder, with your `dvc.yaml` where `stages.py` is done.
There `git init`, `dvc init` and `dvc repro` are the real thing (week 9's packages: `make lab WEEK=9`).
"""

import sys
from pathlib import Path

PARAMS = """\
seed: 7
clean:
  longest: 40
  verbose: false
split:
  share: 0.75
train:
  rate: 0.05
  steps: 60
  note: first try
evaluate:
  threshold: 0.5
"""

TABLES = """\
\"\"\"Tables of text and numbers, and the one file of parameters.\"\"\"
import csv

import yaml


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\\n")
        writer.writeheader()
        writer.writerows(rows)


def params():
    with open("params.yaml") as file:
        return yaml.safe_load(file)
"""

CLEAN = """\
import tables

params = tables.params()
rows = []
for row in tables.read("data/raw.csv"):
    text = " ".join(row["text"].lower().split())
    if text and len(text) <= params["clean"]["longest"]:
        rows.append({"text": text, "kind": row["kind"]})
    elif params["clean"]["verbose"]:
        print("left out:", text)
tables.write("work/clean.csv", rows)
"""

SPLIT = """\
import random

import tables

params = tables.params()
rows = tables.read("work/clean.csv")
random.Random(params["seed"]).shuffle(rows)
first = round(len(rows) * params["split"]["share"])
tables.write("work/train.csv", rows[:first])
tables.write("work/test.csv", rows[first:])
"""

TRAIN = """\
import json
import math
import random

import tables

params = tables.params()
rows = tables.read("work/train.csv")
chance = random.Random(params["seed"])
settings = params["train"]
weights = {}
for _ in range(settings["steps"]):
    row = chance.choice(rows)
    words = row["text"].split()
    score = sum(weights.get(word, 0.0) for word in words)
    step = settings["rate"] * (int(row["kind"]) - 1 / (1 + math.exp(-score)))
    for word in words:
        weights[word] = weights.get(word, 0.0) + step
with open("work/model.json", "w") as file:
    json.dump({"weights": weights}, file, indent=1, sort_keys=True)
"""

EVALUATE = """\
import json
import math

import tables

threshold = tables.params()["evaluate"]["threshold"]
with open("work/model.json") as file:
    weights = json.load(file)["weights"]
rows = tables.read("work/test.csv")
errors = []
for row in rows:
    chance = 1 / (1 + math.exp(-sum(weights.get(word, 0.0) for word in row["text"].split())))
    if (chance > threshold) != bool(int(row["kind"])):
        errors.append({"text": row["text"], "kind": row["kind"], "chance": f"{chance:.4f}"})
tables.write("work/errors.csv", errors or [{"text": "", "kind": "", "chance": ""}])
with open("metrics.json", "w") as file:
    json.dump({"errors": len(errors), "of": len(rows)}, file)
"""

REPORT = """\
import csv
import json

with open("data/labels.json") as file:
    names = json.load(file)
with open("metrics.json") as file:
    metrics = json.load(file)
lines = [f"{metrics['errors']} of {metrics['of']} are wrong"]
with open("work/errors.csv", newline="") as file:
    for row in csv.DictReader(file):
        if row["text"]:
            lines.append(f"{names[row['kind']]}: {row['text']} ({row['chance']})")
with open("report.txt", "w") as file:
    file.write("\\n".join(lines) + "\\n")
"""

SCRIPTS = {
    "src/tables.py": TABLES,
    "src/clean.py": CLEAN,
    "src/split.py": SPLIT,
    "src/train.py": TRAIN,
    "src/evaluate.py": EVALUATE,
    "src/report.py": REPORT,
}

LABELS = '{"0": "question", "1": "complaint"}\n'

QUESTION = "when does the shop open where can I find my size is this blue or black how long is it"
COMPLAINT = "the parcel came late it is broken I want my money back nobody answers the phone again"


def raw(chance, count=120):
    """Return the text of `data/raw.csv`: sentences of two kinds. `chance` is a `random.Random`."""
    kinds, lines = [QUESTION.split(), COMPLAINT.split()], ["text,kind"]
    for number in range(count):
        words = chance.choices(kinds[number % 2], k=chance.randint(4, 9)) + chance.choices(kinds[0], k=2)
        lines.append(f"{'  '.join(words)},{number % 2}")
    return "\n".join(lines) + "\n"


def files(chance):
    """Return the whole project by path, without what the stages write."""
    return {"data/raw.csv": raw(chance), "data/labels.json": LABELS, "params.yaml": PARAMS, **SCRIPTS}


def main(folder):
    """Write the project into `folder`, which must not exist yet."""
    import random

    root = Path(folder)
    if root.exists():
        sys.exit(f"{folder} is there already; name a folder that is not")
    root.mkdir(parents=True)
    for path, text in files(random.Random(0)).items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    (root / "work").mkdir()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from stages import dvc_yaml

    try:
        (root / "dvc.yaml").write_text(dvc_yaml())
    except NotImplementedError as why:
        print(f"No dvc.yaml yet: {why}")
    print(f"{root}: git init && dvc init && dvc repro")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python checks/part2_project.py FOLDER")
    main(sys.argv[1])
