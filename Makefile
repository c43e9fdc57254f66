# What a person types; CI runs the same. `make help` lists the targets.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Most tests wait for other processes most of the time; each of them needs memory.
JOBS ?= $$(n=$$((2 * $$(nproc))); echo $$((n > 8 ? 8 : n)))

.DEFAULT_GOAL := help
.PHONY: help setup dev demo run test bench chaos lint format docs screenshots vendor lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## Install what SaveAny needs into .venv

dev: $(VENV)/.dev ## Install also what tests need

demo: $(VENV)/.runtime ## Try it: a Telegram of its own, Redis, API, workers (ONCE=1 saves a sample and ends)
	@$(BIN)/saveany demo $(if $(ONCE),--once) $(ARGS)

run: $(VENV)/.runtime ## Run SaveAny with ./config.toml (`.venv/bin/saveany init` writes one)
	@$(BIN)/saveany run $(ARGS)

test: $(VENV)/.dev ## Run all tests (ARGS="-k name" for some)
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

bench: $(VENV)/.dev ## Measure speed and memory: 20 minutes, and an hour of sleep of the web UI (ARGS="rtt50 api_post" for some)
	@$(BIN)/python -m bench $(ARGS)

chaos: $(VENV)/.dev ## Kill, freeze and starve everything, then count what is lost (ARGS="--short kills" for some)
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.dev ## Types, style and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python scripts/structure.py
	@$(BIN)/python scripts/check_js.py

format: $(VENV)/.dev ## Put the source into the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## Write what is generated: example configuration, reference pages, openapi.json
	$(BIN)/python -m saveany.config.docs
	$(BIN)/python -m storages.docs
	$(BIN)/python -m saveany.api.openapi
	$(BIN)/python scripts/make_client.py
	$(BIN)/python -m saveany.cli.reference
	$(BIN)/python -m saveany.bot.reference
	$(BIN)/python -m saveany.compat.openload.docs

screenshots: $(VENV)/.dev ## Take the pictures of the web UI in docs (needs Chromium)
	$(BIN)/python -m tests.acceptance.web.screenshots

vendor: ## Fetch the libraries of the web UI again, and compare them (needs npm)
	@python3 scripts/vendor.py

lock: $(VENV)/.dev ## Choose the newest allowed dependencies anew
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --upgrade --extra build --extra all pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove what was installed and what the demo kept
	rm -rf $(VENV) demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- how .venv comes to be: once for each change of the locked dependencies

$(VENV)/bin/python:
	@python=$$(for p in python3 python3.14 python3.13 python3.12 python3.11; do \
		$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done); \
	if [ -z "$$python" ]; then echo "SaveAny needs Python 3.11 or newer." >&2; exit 1; fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "This Python has no venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	$$python -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing dependencies (once) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
