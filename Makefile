# `make` lists what there is. Everything runs from a checkout, without sudo and without a question.

.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

# The programs of the checkout first, then those of the machine; Debian keeps servers in sbin.
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/bin:$(PATH):/usr/local/sbin:/usr/sbin

# What `make demo` passes on; make hands these to the recipe's environment, spaces and all.
export VIDEO SPEED KEEP OPEN JSON
# Rows for `make bench`, and whether its table goes into the documentation.
export ROWS PAGE
# Test processes side by side: two fit every machine that the tests run on; 0 means none apart.
WORKERS ?= 2
export WORKERS

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ See it

.PHONY: demo
demo: deps ## A visitor, a ring, clips: sealed, delivered, opened  [VIDEO=file SPEED=n KEEP=1 OPEN=1 JSON=1]
	@doorstep-sim demo $${VIDEO:+--video "$$VIDEO"} $${SPEED:+--speed "$$SPEED"} \
	  $${KEEP:+--keep} $${OPEN:+--open} $${JSON:+--json}

.PHONY: up
up: deps ## The whole stack and one doorbell; stays until Ctrl-C
	@doorstep-sim up

.PHONY: pictures
pictures: deps ## Make the README's pictures from a real run
	@doorstep-sim pictures

##@ Every day

.PHONY: test
test: deps ## All tests  [WORKERS=n: n processes side by side, 2 by default]
	@scripts/run-tests

.PHONY: check
check: deps ## All checkers: format, lint, types, import contracts
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports --no-logo

.PHONY: fix
fix: deps ## Mend what the checkers can mend
	@ruff format .
	@ruff check --fix .

##@ Now and then

.PHONY: bench
bench: deps ## Measure, side by side with a peer  [ROWS="seal ring": only these; PAGE=1: into docs/]
	@python -m tests.benchmarks $${PAGE:+--page} $${ROWS}

.PHONY: reference
reference: deps ## Write the pages that are made from the code: docs/reference/, what the operator sees
	@python -m tests.reference

.PHONY: soak
soak: deps ## The long form of the trials that make test runs briefly
	@pytest --timeout 0 tests/soak

.PHONY: deps
deps: .venv/ready ## Set up and nothing else: programs into .tools/, packages into .venv/

.PHONY: lock
lock: deps ## Pin the packages anew  [UPGRADE=1: newest versions]
	@scripts/lock $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean: ## Remove what runs and checks left behind  [ALL=1: .venv and .tools too]
	@rm -rf .demo .bench dist build .coverage .coverage.* htmlcov
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -rf $(if $(ALL),.venv .tools)

.venv/ready: requirements.txt pyproject.toml scripts/set-up scripts/fetch-tools
	@scripts/set-up
