# Each target sets up what it needs; nothing has to be done by hand.
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.PHONY: repro test lint clean

repro: $(VENV)/installed  ## run the pipeline: take the data to the edge, branch, measure, summarise
	dvc repro

test: $(VENV)/installed   ## run the tests
	python -m pytest

lint: $(VENV)/installed   ## check style and types
	ruff check .
	ruff format --check .
	mypy

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:                    ## remove the virtual environment and everything computed
	rm -rf $(VENV) data
