# What it needs: Python 3.11 to 3.14, make, and a way to the package registry that pip is set up for.
#
#   make serve         start the gateway (first start included) and say how to call it
#   make test          everything: format, lint, import directions, types, then the tests
#   make check         the first four
#   make conformance   the openai package's own tests, against a gateway in rehearsal
#   make bench         what it costs to go through the gateway
#   make lock          renew requirements/*.txt after a change of requirements/*.in
#   make clean         remove .venv and every cache; data (.gateway) stays

SHELL := /bin/sh
BIN := .venv/bin
PYTEST_ARGS ?= -n auto
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-header --python-version 3.11

# What is installed is known by the hash of what was asked for, in the name of a stamp.
RUNTIME := .venv/.runtime-$(shell cat requirements/runtime.txt pyproject.toml | cksum | tr ' ' -)
DEV := .venv/.dev-$(shell cat requirements/dev.txt pyproject.toml | cksum | tr ' ' -)

.DEFAULT_GOAL := help
.PHONY: help serve test check conformance bench lock clean

help:
	@sed -n 's/^#   //p' Makefile

serve: $(RUNTIME)
	@exec $(BIN)/python -m gateway serve

test: check
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

conformance: $(DEV)
	$(BIN)/python -m tests.conformance.run

bench: $(DEV)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.streams
	$(BIN)/python -m bench.lists
	$(BIN)/python -m bench.retrieval

lock: $(DEV)
	$(UV_COMPILE) requirements/runtime.in -o requirements/runtime.txt
	$(UV_COMPILE) requirements/dev.in -o requirements/dev.txt

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .pytest_cache \
		.hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@python=$$(for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
		$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
			2>/dev/null && echo $$name && break; done); \
	test -n "$$python" || { echo "Python 3.11 to 3.14 is needed and was not found." >&2; exit 1; }; \
	echo "Making .venv with $$python; the first time takes a minute."; \
	$$python -m venv .venv

$(RUNTIME): | .venv/bin/python
	@rm -f .venv/.runtime-*
	$(PIP) --require-hashes -r requirements/runtime.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUNTIME)
	@rm -f .venv/.dev-*
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@
