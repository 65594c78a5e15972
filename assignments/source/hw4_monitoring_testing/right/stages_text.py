# replaces: stages.py
# method: the file written by hand, in block style, with comments and DVC's longer forms
import sys

TEXT = """\
# clean -> split -> train -> evaluate -> report
stages:
  clean:
    cmd: python src/clean.py
    deps:
      - data/raw.csv
      - src/clean.py
      - src/tables.py
    params:
      - clean.longest
    outs:
      - work/clean.csv
  split:
    cmd: python src/split.py
    deps:
      - src/split.py
      - src/tables.py
      - work/clean.csv
    params:
      - seed
      - split.share
    outs:
      - work/train.csv
      - work/test.csv
  train:
    cmd: python src/train.py
    deps:
      - src/train.py
      - src/tables.py
      - work/train.csv
    params:
      - seed
      - train.rate
      - train.steps
    outs:
      - work/model.json
  evaluate:
    cmd: python src/evaluate.py
    deps:
      - src/evaluate.py
      - src/tables.py
      - work/model.json
      - work/test.csv
    params:
      - evaluate.threshold
    outs:
      - work/errors.csv
    metrics:
      - metrics.json
  report:
    cmd: python src/report.py
    deps:
      - src/report.py
      - data/labels.json
      - metrics.json
      - work/errors.csv
    outs:
      - report.txt
"""


def dvc_yaml():
    return TEXT


if __name__ == "__main__":
    sys.stdout.write(dvc_yaml())
