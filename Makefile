# Every target creates what it needs; the environment lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: lab notebooks record services clean demo test test-all test-slurm matrix site test-site

# make lab WEEK=7 installs what that week needs besides.
WEEK_FILE = $(if $(WEEK),$(wildcard requirements-week$(WEEK).txt requirements-week0$(WEEK).txt))

lab: .venv/installed $(patsubst requirements-%.txt,.venv/%,$(WEEK_FILE))
	@echo "Jupyter keeps this terminal until you press Ctrl-C; for grader and git, open another one in this folder."
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; this is ' + sys.version.split()[0] + '. Try: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	@echo "Installing PyTorch, Jupyter and what they need into .venv: a few minutes, 2 to 3 GB on disk."
	$(BIN)/pip install --disable-pip-version-check --requirement requirements.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --editable .
	$(BIN)/python -m grader.steps.jupyter
	touch $@

.venv/week%: requirements-week%.txt .venv/installed
	$(BIN)/pip install --disable-pip-version-check --requirement $<
	touch $@

notebooks: .venv/installed
	python -m effdl.build

# This machine's column in the tables of claims: results/KIND.json of every week, and the READMEs.
record: .venv/installed
	python -m effdl.build --record

# Every service that weeks 6 and 7 show, on free ports of this machine, until Ctrl-C.
services: .venv/installed $(patsubst requirements-%.txt,.venv/%,$(wildcard requirements-week0[67].txt))
	@python -m effdl.services

clean:
	rm -rf demo-output .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# --- needs the sources of the assignments; not in the repository that students clone ---

demo: .venv/installed
	python -m grader.demo

# The course as a site, in build/site: what is committed, with nothing executed and nothing fetched.
site: .venv/site
	python -m website.build

.venv/site: requirements-site.txt .venv/installed
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement $<
	touch $@

.venv/tested: requirements-test.txt requirements-server.txt requirements-site.txt $(wildcard requirements-week*.txt) .venv/installed
	$(BIN)/pip install --quiet --requirement requirements-test.txt
	touch $@

# NVIDIA Triton needs a Python of its own: Debian's, whose libpython3.11.so its models load. 450 MB.
TRITON_PYTHON ?= /usr/bin/python3.11
.venv-triton/installed: week07_inference_software/requirements-triton.txt
	$(TRITON_PYTHON) -m venv .venv-triton
	.venv-triton/bin/pip install --disable-pip-version-check --quiet --requirement $<
	touch $@

# The engines that week 7's page loads into a browser (230 MB), and what the site's tests load into a page.
%/installed: %/package-lock.json
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# All only where they can be; their tests skip elsewhere.
HAS_TRITON := $(shell uname -sm | grep -q "Linux x86_64" && $(TRITON_PYTHON) -c "import ensurepip" 2>/dev/null && echo yes)
HAS_NPM := $(shell command -v npm)
NPM_PACKAGES = $(if $(HAS_NPM),week07_inference_software/browser/installed website/installed)
EXTRAS = $(if $(HAS_TRITON),.venv-triton/installed) $(NPM_PACKAGES)

# What a run of ranks may take, in notebooks and tests: so long that it only ends a hang, on a slow machine too.
test matrix: export EFFDL_DEADLINE ?= 300
# Of large families of tests each commit runs a few: see the marker `drawn` in pyproject.toml.
DRAW ?= $(shell git rev-parse HEAD 2>/dev/null || echo none)
PYTEST = EFFDL_DRAW=$(DRAW) python -m pytest
# Questions are drawn afresh, and machines are busy: what failed is asked once more, and its first failure stays above.
AGAIN = $(PYTEST) --last-failed --last-failed-no-failures none
# Only these files have tests that run alone; to import all of them takes half a minute.
ALONE = $(shell git grep --untracked -l 'mark\.alone' -- '*/test_*.py')
test: .venv/tested $(EXTRAS)
	ruff check .
	ruff format --check .
	basedpyright
	python -m effdl.build --check
	python -m effdl.build --run --again
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -m "not alone" || $(AGAIN)
	$(PYTEST) -m alone $(ALONE) || $(AGAIN)

# The whole site in a browser; `make test` looks at one week of it. What needs Chromium or npm skips without them.
test-site: site .venv/tested $(NPM_PACKAGES)
	SITE=build/site python -m pytest website

# A real Slurm cluster with two emulated nodes, built and taken down again: apt-get install slurmctld slurmd
# slurm-client munge, as root. Some 15 minutes.
test-slurm: export GRADER_SLURM = 1
test-slurm: .venv/tested
	python -m pytest -rs grader/tests/runners

# Stand-ins for other machines: see effdl/matrix.py. Half a day.
matrix: .venv/tested .venv-torch211/installed
	python -m effdl.matrix

.venv-torch211/installed: requirements-test.txt requirements-server.txt requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-torch211
	cp requirements*.txt .venv-torch211
	sed -i 's/^torch==.*/torch==2.11.0/; s/^torchvision==.*/torchvision==0.26.0/; s/^triton==[^;]*/triton==3.6.0/; s/^hdrhistogram==.*/hdrhistogram==0.10.3/; s/^numpy==.*/numpy==2.3.5/' \
		.venv-torch211/requirements*.txt
	.venv-torch211/bin/pip install --quiet --requirement .venv-torch211/requirements.txt \
		--requirement .venv-torch211/requirements-test.txt
	.venv-torch211/bin/pip install --quiet --no-deps --editable .
	touch $@

# Every test of every family, and what make test takes over from an earlier run (.cache) is done again.
test-all:
	CI=true EFFDL_FRESH=1 $(MAKE) test matrix DRAW=
