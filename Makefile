# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Short names for what people do here; the scripts do the work.

# The name of a file reaches the scripts through the environment, so that no shell reads it as code.
export TOPOLOGY
export PYTHON ?= python3

.PHONY: help setup swapin swapout status test test-network test-kinds test-hosts fuzz bench bench-guard lint lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile
	@echo
	@echo "  TOPOLOGY=examples/pair.topdl   the experiment to swap in or out, or to look at"
	@echo "  ARGS='-e benito_packing=5 -v'  further arguments of ansible-playbook, or of the benchmark"
	@echo "  STEPS='unit sanity'            run only these steps of the tests"

setup: ## prepare this checkout: host packages, and Python libraries in .venv
	@tools/setup.sh

swapin: setup ## bring up the experiment TOPOLOGY
	@tools/playbook.sh swapin $(ARGS)

swapout: setup ## take the experiment TOPOLOGY away
	@tools/playbook.sh swapout $(ARGS)

status: setup ## say how the nodes of the experiment TOPOLOGY are
	@tools/playbook.sh status $(ARGS)

test: ## run every linter and every test (needs root or sudo, takes some minutes)
	@tools/setup.sh tests
	@tests/run.sh $(STEPS)

test-network: ## run the tests of links and of what goes over them (needs root or sudo, takes longer)
	@tools/setup.sh tests
	@tests/run.sh network

test-kinds: ## run the tests of nodes of all kinds (needs root or sudo, takes longer)
	@tools/setup.sh tests
	@tests/run.sh kinds

test-hosts: ## run the tests that need several hosts, made for the purpose (needs root or sudo, takes longer)
	@tools/setup.sh tests
	@tests/run.sh hosts

fuzz: ## fuzz what reads others' files and words (10 minutes; ARGS='--minutes 30 --target topdl', '--inputs 1000000', '--keep')
	@tools/setup.sh tests
	@.venv/bin/python -B -m tests.fuzz $(ARGS)

bench: ## measure, beside what else one might use (needs root, takes long; ARGS='--only plan,guests --quick')
	@tools/setup.sh bench
	@.venv/bin/python -B -m tests.bench $(ARGS)

bench-guard: ## compare the ratios of the last `make bench` with those to be expected
	@.venv/bin/python -B -m tests.bench --guard $(ARGS)

lint: ## run the linters alone
	@tools/setup.sh tests
	@tests/run.sh lint

lock: ## renew the hashes of the pinned libraries after a change to requirements*.txt (ARGS=--upgrade for the newest)
	@tools/lock.sh $(ARGS)

clean: ## remove what setup and the tests left in this checkout
	rm -rf .venv .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build tests/output
