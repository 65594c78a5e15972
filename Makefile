# Every target creates what it needs; the environment lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: lab notebooks clean demo test

lab: .venv/installed
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; this is ' + sys.version.split()[0] + '. Try: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

notebooks: .venv/installed
	python -m effdl.build

clean:
	rm -rf demo-output .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# --- needs the sources of the assignments; not in the repository that students clone ---

demo: .venv/installed
	python -m grader.demo

.venv/tested: requirements-test.txt requirements-server.txt .venv/installed
	$(BIN)/pip install --quiet --requirement requirements-test.txt
	touch $@

test: .venv/tested
	ruff check .
	ruff format --check .
	python -m effdl.build --check
	python -m effdl.build --run
	python -m pytest
