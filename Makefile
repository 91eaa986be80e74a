# Moorage. `make run` serves, `make test` tests; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-$(shell cksum < requirements.lock | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cksum < requirements-dev.lock | cut -d' ' -f1)
MOORAGE_SERVE ?=
# files of tests at once: many of them wait, and some want a moment's quiet
AT_ONCE := --numprocesses $(shell expr $$(nproc) + 1) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test check format bench conformance crash lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Moorage needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make run PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Could not make $(VENV). On Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUN_STAMP): requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(RUN_STAMP) ## serve on 127.0.0.1:5000 with data in ./data
	@exec $(BIN)/moorage serve $(MOORAGE_SERVE)

test: $(DEV_STAMP) ## everything this machine can test
	@# hundreds of servers and commands are started: each would compile all of it again where nothing may be cached
	@$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest $(or $(TESTS),$(AT_ONCE))

check: $(DEV_STAMP) ## format, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV_STAMP) ## Moorage beside Debian's docker-registry; a table of medians and ratios
	$(BIN)/python -m bench $(BENCH)

conformance: $(DEV_STAMP) ## the official OCI suite, gated on its results
	$(BIN)/python -m tests.conformance

crash: $(DEV_STAMP) ## kill, fill and fail the store at every call; lint the trace for missing fsyncs
	$(BIN)/python -m tests.crash

lock: ## pin every dependency with its hashes
	uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 -o requirements.lock pyproject.toml requirements-build.in
	uv pip compile --quiet --generate-hashes --no-annotate --no-header --python-version 3.11 --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## remove what make made, data excepted
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
