.PHONY: help install test lint bench soak clean
PYTHON ?= python
DATA ?= ../shared/data

help:  ## show these verbs
	@grep -E '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install:  ## install for development, into the active environment
	$(PYTHON) -m pip install -e '.[dev]'

test:  ## the fast suite
	$(PYTHON) -m pytest

lint:  ## style and types
	mkdir -p .link && ln -sfn .. .link/latefold
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m mypy

bench:  ## quality and speed on real collections, written to eval/reports
	$(PYTHON) -m latefold.eval.bench --data $(DATA)

bench-%:  ## one benchmark alone: bench-candidates
	$(PYTHON) -m latefold.eval.$* --data $(DATA)

soak:  ## slow oracles, crash loops and fuzzing
	$(PYTHON) -m pytest -m slow --timeout 3600

clean:  ## remove caches and build products
	rm -rf build dist .link .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info index/kernels/__pycache__
