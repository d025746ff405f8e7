# `make demo` and `make test` set themselves up: python3 (3.10 or newer) and a package index are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.layerprobe-installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format notebooks bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## the virtual environment in .venv (the other targets do this themselves)

# The stamp comes last: an interrupted installation is taken up again, a finished one costs nothing.
# One pip call, torch included, so that nothing can pull another torch first.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "layerprobe needs Python 3.10 or newer; got $$($(PYTHON) --version 2>&1): run 'make PYTHON=/path/to/python3 ...'" >&2; exit 2; }
	@echo "Installing layerprobe and its tested dependencies into $(VENV): some minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## the whole path on built-in data; prints the report, the decision and the student's folder
	$(BIN)/layerprobe demo

# One worker per core and one thread per worker: small models gain nothing from threads. Each worker takes a row of
# files (worksteal), so that what tests of a file share is made once.
test: $(STAMP) ## every test, doctests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal --durations=15

# pyright runs on the node of its own wheel: neither an old node of this machine nor none at all gets in the way.
lint: $(STAMP) ## formatting, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_GLOBAL_NODE=0 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP) ## puts the formatting and the import order right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(STAMP) ## runs the notebooks on the demo study; the pages lie in runs/notebooks
	test -e runs/demo/report/report.md || $(BIN)/layerprobe demo
	$(BIN)/jupyter nbconvert --execute --to html --output-dir runs/notebooks notebooks/*.ipynb

bench: $(STAMP) ## every benchmark that needs no GPU, one after the other; writes the tables in benchmarks/
	@for script in $(filter-out benchmarks/gpu_%,$(sort $(wildcard benchmarks/[a-z]*.py))); do \
		echo "== $$script"; $(BIN)/python $$script --write || exit 1; \
	done

clean: ## removes .venv, caches and build output; never your results in runs/
	rm -rf $(VENV) build dist layerprobe.egg-info .pytest_cache .ruff_cache
	find layerprobe tests -name __pycache__ -type d -prune -exec rm -rf {} +
