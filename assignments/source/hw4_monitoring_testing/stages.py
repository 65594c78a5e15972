"""The pipeline of the project in `checks/part2_project.py`, as DVC reads it: `python stages.py > dvc.yaml`."""

import sys

### BEGIN SOLUTION
DVC_YAML = """\
stages:
  clean:
    cmd: python src/clean.py
    deps: [src/clean.py, src/tables.py, data/raw.csv]
    params: [clean.longest]
    outs: [work/clean.csv]
  split:
    cmd: python src/split.py
    deps: [src/split.py, src/tables.py, work/clean.csv]
    params: [seed, split.share]
    outs: [work/train.csv, work/test.csv]
  train:
    cmd: python src/train.py
    deps: [src/train.py, src/tables.py, work/train.csv]
    params: [seed, train.rate, train.steps]
    outs: [work/model.json]
  evaluate:
    cmd: python src/evaluate.py
    deps: [src/evaluate.py, src/tables.py, work/model.json, work/test.csv]
    params: [evaluate.threshold]
    outs: [work/errors.csv]
    metrics:
      - metrics.json:
          cache: false
  report:
    cmd: python src/report.py
    deps: [src/report.py, data/labels.json, work/errors.csv, metrics.json]
    outs: [report.txt]
"""


### END SOLUTION
def dvc_yaml() -> str:
    """Return the text of `dvc.yaml`."""
    ### BEGIN SOLUTION
    return DVC_YAML
    ### END SOLUTION


if __name__ == "__main__":
    sys.stdout.write(dvc_yaml())
