# What it needs: Python 3.11 to 3.14, make, and a way to the package registry that pip is set up for.
#
#   make serve         start the gateway (first start included) and say how to call it
#   make install       make .venv and install what the gateway needs, and no more
#   make test          everything: format, lint, import directions, types, then the tests
#   make check         the first four
#   make conformance   other people's tests and tools, against a gateway in rehearsal (needs Node and Java)
#   make mutants       how many faults in the pure modules the tests notice; up to an hour
#   make bench         what it costs to go through the gateway
#   make lock          renew requirements/*.txt after a change of requirements/*.in
#   make clean         remove .venv and every cache; data (.gateway) stays

SHELL := /bin/sh
BIN := .venv/bin
PYTEST_ARGS ?= -n 3 --dist worksteal
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-header --python-version 3.11

# What is installed is known by the hash of what was asked for and where, in the name of a stamp.
ASKED := Makefile pyproject.toml requirements/install.py requirements/installers.txt
RUNTIME := .venv/.runtime-$(shell { pwd; cat requirements/runtime.txt $(ASKED); } | cksum | tr ' ' -)
DEV := .venv/.dev-$(shell { pwd; cat requirements/dev.txt $(ASKED); } | cksum | tr ' ' -)

INSTALL = python=$$(for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
		$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
			2>/dev/null && echo $$name && break; done); \
	test -n "$$python" || { echo "Python 3.11 to 3.14 is needed and was not found." >&2; exit 1; }; \
	$$python -X utf8 requirements/install.py

.DEFAULT_GOAL := help
.PHONY: help install serve test check conformance mutants bench lock clean

help:
	@sed -n 's/^#   //p' Makefile

serve: $(RUNTIME)
	@exec $(BIN)/python -m gateway serve

install: $(RUNTIME)

test: check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

conformance: $(DEV)
	$(BIN)/python -m tests.conformance.run

mutants: $(DEV)
	$(BIN)/python -m tests.mutants $(MUTANTS)

bench: $(DEV)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.streams
	$(BIN)/python -m bench.lists
	$(BIN)/python -m bench.rooms
	$(BIN)/python -m bench.retrieval

lock: $(DEV)
	$(UV_COMPILE) requirements/installers.in -o requirements/installers.txt
	$(UV_COMPILE) requirements/runtime.in -o requirements/runtime.txt
	$(UV_COMPILE) requirements/dev.in -o requirements/dev.txt
	$(UV_COMPILE) requirements/conformance.in -o requirements/conformance.txt
	$(UV_COMPILE) requirements/mutants.in -o requirements/mutants.txt

clean:
	rm -rf .venv .venv.lock build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .pytest_cache \
		.hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv whose Python is gone is made anew.
.venv/bin/python:

$(RUNTIME): .venv/bin/python
	@$(INSTALL) runtime $@

$(DEV): $(RUNTIME)
	@$(INSTALL) dev $@
