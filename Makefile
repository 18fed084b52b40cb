# Everything a person or a build machine does here. `make` alone lists the targets.

.DEFAULT_GOAL := help
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# The interpreter that makes the virtual environment: the first that is 3.11 or later and can.
CAN_BUILD := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(CAN_BUILD)' 2>/dev/null && echo $$python && break; done)

# Writes a lock: all platforms, hashes of every file, and no address of a registry.
COMPILE := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

# A usage trace for `make demo`, a CSV file with the columns TIMESTAMP,ContextTokens,GeneratedTokens.
TRACE ?=

# Where `make demo` keeps its log: sqlite (the default), postgres (a private server), or a URL.
STORE ?=

.PHONY: help setup demo up unit test lint fmt proto proto-check bench bench-store crash check lock clean

##@ Use

help: ## List the targets
	@awk -F':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install everything that requirements.lock pins into .venv

demo: $(STAMP) ## Run the whole story, from usage to a verified invoice webhook; TRACE=path.csv, STORE=postgres or a URL
	@$(BIN)/meterlog demo $(if $(TRACE),--trace "$(TRACE)") $(if $(STORE),--store "$(STORE)")

up: $(STAMP) ## Start all four services on this machine, with embedded stores under var/
	@$(BIN)/meterlog up

##@ Change

unit: $(STAMP) ## Run the quick tests, while you write: those that start no process and no database
	@$(BIN)/python -m tests.quick

test: $(STAMP) ## Run every test; needs nothing but Python
	@$(BIN)/python -m pytest

crash: $(STAMP) ## Try every store under kills, disk and network faults, and check all histories; SECONDS=60 SEED= BACKEND=
	@$(BIN)/python -m tests.crash $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(BACKEND),--backend $(BACKEND))

lint: $(STAMP) ## Check style, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(STAMP) ## Format the code and the contracts
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python -m scripts.check_protos --format

proto: $(STAMP) ## Regenerate proto/gen from proto/
	@$(BIN)/python -m scripts.generate_protos

proto-check: $(STAMP) ## Check the contracts with buf, and that proto/gen is what they generate
	@$(BIN)/python -m scripts.check_protos

bench: $(STAMP) ## Measure metering over 10 million usage events, beside a peer and a ceiling; EVENTS=
	@$(BIN)/python bench/bench_metering.py $(if $(EVENTS),--events $(EVENTS))

bench-store: $(STAMP) ## Measure the event stores alone, beside a peer and the drivers; EVENTS=10000000 for a long look at memory
	@$(BIN)/python bench/bench_store.py $(if $(EVENTS),--events $(EVENTS))

check: lint proto-check test ## Do all that is asked of a change; the build machine does, and repeats a few tests that fail

lock: ## Pin the newest versions that pyproject.toml allows, here and for the image (needs uv)
	@$(COMPILE) --all-extras --upgrade --output-file requirements.lock
	@$(COMPILE) --extra server --extra postgres --extra kurrentdb --constraint requirements.lock --output-file deploy/requirements.lock

clean: ## Remove caches and build leftovers; .venv and the log under var/ stay
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache proto/third_party
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Meterlog needs Python 3.11 or later with its venv module, and found none;" \
		"install it (Debian: python3 and python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c '$(CAN_BUILD)' || { echo "$(PYTHON) is no Python 3.11 or later with its venv module" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
