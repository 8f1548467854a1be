# SPDX-License-Identifier: Apache-2.0
# Needs only python3 (>= 3.11) with venv, and make. Everything made lies in .venv/ and build/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
FUZZ_SECONDS ?= 60
MODEL_RUNS ?= 10000
ARGS ?=
BIN := .venv/bin
# More for every pytest run, for example: make unit PYTEST_ARGS='-k governor -x'
PYTEST_ARGS ?=
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
PURE := core wire security

export PIP_DISABLE_PIP_VERSION_CHECK := 1

STEPS := lint types imports deadcode unit component integration coverage fuzz

.PHONY: help demo test $(STEPS) format diagrams lock clean test-faults test-system

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

# --- the environment ---

PIP_LOCKED := $(BIN)/pip install --quiet --require-hashes --no-deps -r

# Three steps because of torch: .ci/lock tells why.
.venv/locked: requirements.lock requirements-cpu.lock requirements-cuda.lock
	$(PYTHON) -m venv --clear .venv
	@mkdir -p build; echo "$(PIP_LOCKED) requirements-cpu.lock"; $(PIP_LOCKED) requirements-cpu.lock 2>build/torch-cpu.log \
	  || echo "pip offers no CPU build of torch here (build/torch-cpu.log): the public build it is"
	$(PIP_LOCKED) requirements.lock
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  echo "this build of torch needs its CUDA libraries (about 3 GB): installing requirements-cuda.lock"; \
	  $(PIP_LOCKED) requirements-cuda.lock; $(BIN)/python -c 'import torch'; }
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv: .venv/installed ## the environment, from requirements.lock
.PHONY: .venv

lock: .venv/locked ## write requirements.lock anew (UPGRADE=1: with the newest releases)
	.ci/lock

clean: ## remove all that make made
	rm -rf .venv build
	find agent tests -name __pycache__ -prune -exec rm -r {} +

# --- the program ---

demo: .venv/installed ## a whole federation on this machine
	$(BIN)/fedagent demo --cache build/demo $(ARGS)

# --- the checks ---

test: .venv/installed ## all that must hold before a commit: every step below to the end, then which failed
	@failed=; for step in $(STEPS); do \
	  echo "=== $$step"; start=$$EPOCHREALTIME; \
	  $(MAKE) --no-print-directory MEASURED_APART=yes $$step && result=passed || { result=FAILED; failed+=" $$step"; }; \
	  LC_ALL=C awk -v s=$$start -v e=$$EPOCHREALTIME -v n=$$step -v r=$$result 'BEGIN {printf "=== %s %s in %.1f s\n", n, r, e - s}'; \
	done; if [ -n "$$failed" ]; then echo "make test: failed:$$failed"; exit 1; fi; echo "make test: all passed"

lint: .venv/installed ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed ## let ruff write the format, and what it can correct
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

diagrams: .venv/installed ## write the diagrams of ARCHITECTURE.md from the tables
	WRITE_DIAGRAMS=1 $(PYTEST) -q tests/unit/test_architecture.py -k page

types: .venv/installed ## mypy, strict, tests included
	$(BIN)/mypy

imports: .venv/installed ## import-linter: layers, and who may know which library
	$(BIN)/lint-imports --cache-dir build/import-linter

deadcode: .venv/installed ## vulture: what nobody uses
	$(BIN)/python .ci/deadcode.py

# A suite without a file yet says so. A suite with files that collects no test fails (pytest's exit code 5).
define suite
	@if [ -n "$$(find tests/$(1) -name 'test_*.py' -print -quit 2>/dev/null)" ]; \
	then echo "$(PYTEST) tests/$(1)"; $(PYTEST) tests/$(1); else echo "tests/$(1): nothing here yet"; fi
endef

# `make test` measures core, wire and security in their own step, and runs their tests there alone.
unit: .venv/installed ## tests/unit
	$(PYTEST) tests/unit $(if $(MEASURED_APART),$(PURE:%=--ignore=tests/unit/%))

component: .venv/installed ## tests/component: daemon with fakes and a manual clock
	$(call suite,component)

integration: .venv/installed ## tests/integration: real mosquitto, real trainer
	$(call suite,integration)

coverage: .venv/installed ## every branch of core, wire and security, each from its own tests alone
	@for part in $(PURE); do \
	  if [ -z "$$(find agent/fedagent/$$part -name '*.py' ! -name __init__.py -print -quit)" ]; \
	  then echo "coverage of $$part: nothing here yet"; continue; fi; \
	  export COVERAGE_FILE=build/coverage/$$part; mkdir -p build/coverage; echo "--- coverage of $$part from tests/unit/$$part"; \
	  $(BIN)/coverage run --source=fedagent.$$part -m pytest -q $(PYTEST_ARGS) tests/unit/$$part || failed=1; \
	  $(BIN)/coverage report || failed=1; \
	done; [ -z "$${failed:-}" ]

fuzz: .venv/installed ## tests/fuzz for FUZZ_SECONDS
	@if [ ! -f tests/fuzz/fuzz_decoders.py ]; then echo "tests/fuzz/fuzz_decoders.py: nothing here yet"; \
	elif ! $(BIN)/python -c 'import atheris' 2>/dev/null; then echo "fuzz: SKIPPED, no atheris for this machine or Python"; \
	else mkdir -p build/fuzz/corpus; \
	  $(BIN)/python tests/fuzz/fuzz_decoders.py -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/fuzz/ build/fuzz/corpus; fi

test-faults: .venv/installed ## tests/faults: kill, cut and fill at every failpoint, and MODEL_RUNS of the federation's model (long)
	$(call suite,faults)
	FEDAGENT_MODEL_RUNS=$(MODEL_RUNS) $(PYTEST) tests/component/test_federation_model.py

test-system: .venv/installed ## tests/system: the units on booted Debian machines (as root, with debootstrap and systemd-nspawn)
	$(call suite,system)
