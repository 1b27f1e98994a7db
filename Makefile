# narrowgauge: `make flow` is the main job, `make test` the tests. Both set up .venv on first use.

PYTHON ?= python3
PYTEST ?= -n auto
FLOW ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input
SOURCES := narrowgauge golden hdl verify synth tests
PARTS := golden hdl verify synth

# A tool of the system must not change what is emitted; what a user has in PYTHONPATH neither.
export AMARANTH_USE_YOSYS := builtin
unexport PYTHONPATH

ifneq ($(words $(CURDIR)),1)
$(error the path of this folder holds a space, which Verilator's makefiles cannot take: $(CURDIR))
endif

.DEFAULT_GOAL := help
.PHONY: help flow test lint types bench reference measure doctor clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

flow: $(VENV)/.flow ## generate, verify and synthesise the units; report in build/flow (FLOW=... adds options)
	@$(PY) -m narrowgauge flow $(FLOW)

test: lint ## style, types and all tests (PYTEST=... replaces the options of pytest)
	@$(PY) -m pytest $(PYTEST)

lint: $(VENV)/.test types ## style and types only
	@$(PY) -m ruff check $(SOURCES)
	@$(PY) -m ruff format --check $(SOURCES)
	@cd build/typing && ../../$(PY) -m mypy --config-file ../../pyproject.toml

# Links that show the folders as the package that they are installed as; made anew each time.
types:
	@rm -rf build/typing && mkdir -p build/typing/narrowgauge
	@cd build/typing/narrowgauge && ln -s ../../../narrowgauge/* . && for part in $(PARTS); do ln -s ../../../$$part $$part; done
	@rm -f build/typing/narrowgauge/__pycache__

bench: $(VENV)/.test ## speed of the quantiser beside other libraries
	@$(PY) -m tests.benchmarks.quantize

reference: flow $(VENV)/.test ## run the flow; take its figures into tests/reference and the pages
	@$(PY) -m tests.reference

measure: $(VENV)/.test ## every measure of every unit (hours), docs/measurements.md and the page in build/report
	@$(PY) -m tests.reference.measures --sweep
	@$(PY) -m narrowgauge report

doctor: $(VENV)/.flow ## which tools are here, which are missing
	@$(PY) -m narrowgauge doctor

clean: ## remove generated files, keep the environment (rm -r .venv for that)
	rm -rf build dist *.egg-info

$(PY):
	@command -v $(PYTHON) >/dev/null || { echo "make: no '$(PYTHON)': install Python 3.11 or newer, or give PYTHON=..." >&2; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed, give PYTHON=..." >&2; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: cannot make $(VENV): install Python's venv module (Debian: apt install python3-venv)" >&2; exit 3; }

# The extras follow pyproject.toml; the environment of the tests serves the flow as well.
$(VENV)/.flow: pyproject.toml | $(PY)
	@echo "setting up $(VENV) for the flow"
	@$(PIP) --editable '.[flow]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(PY)
	@echo "setting up $(VENV) for the tests"
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.flow $@
