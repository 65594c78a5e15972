# replaces: stages.py
# method: a table of stages, written as JSON, which is YAML too; all outputs are `outs`
import json
import sys

READS = {
    "clean": "data/raw.csv",
    "split": "work/clean.csv",
    "train": "work/train.csv",
    "evaluate": "work/test.csv work/model.json",
    "report": "metrics.json work/errors.csv data/labels.json",
}
WRITES = {
    "clean": "work/clean.csv",
    "split": "work/test.csv work/train.csv",
    "train": "work/model.json",
    "evaluate": "metrics.json work/errors.csv",
    "report": "report.txt",
}
USES = {
    "clean": "clean.longest",
    "split": "split.share seed",
    "train": "train.steps train.rate seed",
    "evaluate": "evaluate.threshold",
}


def dvc_yaml():
    stages = {}
    for name in READS:
        script = f"src/{name}.py"
        shared = [] if name == "report" else ["src/tables.py"]
        stages[name] = {
            "cmd": f"python {script}",
            "deps": [*READS[name].split(), script, *shared],
            "params": USES.get(name, "").split(),
            "outs": WRITES[name].split(),
        }
    return json.dumps({"stages": stages})


if __name__ == "__main__":
    sys.stdout.write(dvc_yaml())
