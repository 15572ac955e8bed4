# `make` alone says what there is. Each target is complete from a bare checkout on Debian 12.

PYTHON := .venv/bin/python
READY := .venv/ready .lab/ready .peers/ready

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check fix protos bench conformance soak coverage

help: ## Say what there is.
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(READY) &: pyproject.toml scripts/setup benchmarks/buildgrid.txt
	@scripts/setup

setup: $(READY) ## Install what is needed: Debian packages, the environment .venv, compilers in .lab, other servers in .peers.

demo: $(READY) ## Watch Bazel build through Holdfast: a C++ project, twice, and what never is alike.
	@$(PYTHON) -m scripts.demo

test: $(READY) ## Run the whole test suite.
	$(PYTHON) -m pytest --numprocesses=auto --dist=loadgroup

check: $(READY) ## Run the linters, and look for generated files that are stale.
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy .
	.venv/bin/lint-imports --no-logo
	$(PYTHON) scripts/generate_protos.py --check
	$(PYTHON) -m re_config.reference --check
	$(PYTHON) -m determinism.reference --check

fix: $(READY) ## Format, and mend what the linter can.
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

protos: $(READY) ## Generate protos/*_pb2* from protos/*.proto.
	$(PYTHON) scripts/generate_protos.py

RUNS ?= 20
CASES ?= lab/cases
lab: $(READY) ## Run real tools RUNS=20 times each, the folder CASES=lab/cases; prints the README's table.
	$(PYTHON) -m lab.run --runs $(RUNS) --cases $(CASES)

bench: $(READY) ## Measure, beside a bare server and other servers; prints the README's table.
	$(PYTHON) -m benchmarks.run

conformance: $(READY) ## Hold Holdfast and other servers to the protocol; rewrites the table of docs/conformance.md.
	$(PYTHON) -m scripts.conformance_peers --write

soak: $(READY) ## Fuzz every parser, kill the server a hundred times under load, keep a silent action for 5 minutes.
	$(PYTHON) -m fuzz.run
	HOLDFAST_SOAK_ROUNDS=100 $(PYTHON) -m pytest --timeout=7200 -o faulthandler_timeout=7200 -m "soak or not soak" \
		tests/cas/test_disk_killed.py tests/re_server/test_killed.py tests/buck2/test_keepalive.py

coverage: $(READY) ## Run the suite and say which lines of the product it never ran.
	.venv/bin/coverage run -m pytest
	.venv/bin/coverage report
