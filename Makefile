# Each target sets up what it needs; nothing has to be done by hand. `make` or `make help` lists the targets.
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.DEFAULT_GOAL := help
.PHONY: help install repro paper test bench lint docs clean

help:                     ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-8s %s\n", $$1, $$2}'

install: $(VENV)/installed  ## make the environment alone, .venv; all others do it first

repro: $(VENV)/installed  ## run the pipeline on all cores (JOBS=N: N stages at a time); the last line counts the claims that hold, fail, are undecided
	edgewise repro $(if $(JOBS),--jobs $(JOBS))
	@echo "metrics/claims.md: $$(head -n 1 metrics/claims.md)"

paper: $(VENV)/installed  ## run the study of the paper at its quick size, and write its report, paper.html
	edgewise study run studies/paper.yaml --jobs $(or $(JOBS),2) || failed=1; \
	edgewise report --study studies/paper.yaml --output paper.html && exit $${failed:-0}

test: $(VENV)/installed   ## run the tests
	python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

bench: $(VENV)/installed  ## measure the speed of everything, against peers too; the figures are metrics/benchmarks.json
	python benchmarks/bench.py

lint: $(VENV)/installed   ## check style and types
	ruff check .
	ruff format --check .
	mypy

docs: $(VENV)/installed   ## build the site of the documentation, site/index.html; a broken link is an error
	mkdocs build --strict --quiet

# The environment, made again when what it is made of changes; nothing is installed but what has a hash that is known.
# It takes 6 GB.
$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m pip check
	$(VENV)/bin/python -c "import vl_convert; print(vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed'))" > $(VENV)/vega.js
	touch $@

clean:                    ## remove the virtual environment, data/ and site/; metrics, plots and the cache of DVC stay
	rm -rf $(VENV) data site
