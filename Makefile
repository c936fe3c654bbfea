# make run    the daemon with demo/config.toml on 127.0.0.1:8080      make check  lint, format, types, layers, docs
# make test   tests                                                   make bench  the table in tests/bench/RESULTS.md
# make emulated   the tests that boot whole emulated computers, minutes each (as root, with qemu-system-x86)
# make dist   the wheel, in dist/                                     make clean  forget what was built and run here

SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13 /usr/bin/python3) python3)
PYTHON ?= $(SYSTEM_PYTHON)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TESTS ?= tests plugins
# Most tests wait for real processes: more of them at once than there are cores. JOBS=0: one after the other.
JOBS ?= $(shell echo $$(( $$(nproc) + 1 )))
BENCH ?=
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

.PHONY: run test emulated check bench dist clean
.DELETE_ON_ERROR:

run: $(VENV)/.installed
	PATH="$(CURDIR)/demo/functions:$$PATH" STATE_DIRECTORY="$(CURDIR)/state" RUNTIME_DIRECTORY="$(CURDIR)/run" \
	  exec $(BIN)/faasd-py up --config demo/config.toml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

emulated: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m emulated $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases $(PLUGINS:%=%/src)
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/architecture

# BENCH=--quick: two minutes, and nothing is written.
bench: $(VENV)/.installed-bench
	$(BIN)/python -m tests.bench $(BENCH)

dist: $(VENV)/.installed
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf .venv dist build state run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "faasd-py needs Python 3.11 or newer; $(PYTHON) is older (PYTHON=/path/to/python3 make ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(PLUGINS:%=%/pyproject.toml) | $(VENV)/bin/python
	$(PIP) install --editable '.[dev]' $(PLUGINS:%=--editable %)
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(PIP) install --editable '.[bench]'
	@touch $@
