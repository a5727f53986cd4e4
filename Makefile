# `make` lists the targets. Each makes the environment that it needs; nothing is installed elsewhere.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# Python 3.11 or newer, asked rather than read off the name: a version manager's shim may be a shell.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# The compiled requirements are complete: nothing is left for pip to work out.
# Whatever a user's pip.conf says of `user` or `prefix`, $(1), a folder here, is installed into.
pip_install = $(1)/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes \
	--no-deps --no-user --prefix "$(CURDIR)/$(1)"
# SAM would report each use of it.
export SAM_CLI_TELEMETRY := 0

CODE := bench functions layers/aggregator local scripts tests
PYTEST_ARGS ?= -n auto --dist worksteal
ARGS ?=

LOCAL := .venv/.local
DEV := .venv/.dev
DEPLOY := .venv-deploy/.stamp
CHECKOV := .venv-checkov/.stamp

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(LOCAL) ## The whole way on this machine, from a demo relay into a store
	@.venv/bin/python -m local.demo $(ARGS)

.PHONY: demo-serve
demo-serve: $(LOCAL) ## Keep the demo running, and serve a page of what it stores, until Ctrl-C
	@.venv/bin/python -m local.serve $(ARGS)

.PHONY: check
check: $(LOCAL) ## Does the relay in RELAY_BASE_URL answer, does OTEL_EXPORT_URL accept? Without AWS
	@.venv/bin/python -m local.check $(ARGS)

.PHONY: backfill
backfill: $(LOCAL) ## Deliver a relay's past: STACK=… FROM=…, or RELAY_BASE_URL=… without AWS
	@.venv/bin/python -m local.backfill $(ARGS)

.PHONY: test
test: $(DEV) ## Formatter and linter check, strict types, and all tests but tests/e2e
	.venv/bin/ruff format --check --quiet
	.venv/bin/ruff check --quiet
	.venv/bin/mypy $(wildcard $(CODE))
	.venv/bin/pytest $(PYTEST_ARGS) --ignore=tests/e2e --cov --cov-report=term

.PHONY: soak
soak: $(DEV) ## Make 2,000 warm runs with faults at random, for half an hour at most
	SOAK_RUNS=2000 SOAK_SECONDS=1800 .venv/bin/pytest -q tests/integration/test_soak.py $(ARGS)

.PHONY: test-e2e
test-e2e: $(DEV) $(DEPLOY) $(CHECKOV) ## The linters of the template, and the tests of the built artefacts
	.venv/bin/pytest tests/e2e

.PHONY: format
format: $(DEV) ## Format, and fix what the linter can
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

.PHONY: docs
docs: $(DEV) ## Write docs/metrics.md, the tables of docs/cost.md and docs/failures.md, and the dashboards
	PYTHONPATH=layers/aggregator .venv/bin/python -m scripts.metrics_reference
	PYTHONPATH=layers/aggregator .venv/bin/python -m scripts.cost
	PYTHONPATH=layers/aggregator .venv/bin/python -m scripts.spool_drain
	PYTHONPATH=layers/aggregator .venv/bin/python -m dashboards

.PHONY: picture
picture: $(DEV) ## Take the README's picture of the demo's page anew, with a headless Chromium
	.venv/bin/python -m scripts.screenshot

.PHONY: bench
bench: $(DEV) ## Measure against fixed-latency servers on this machine
	.venv/bin/python -m bench $(ARGS)

.PHONY: calls
calls: $(DEV) ## Count what a run asks of a relay, for 1 to 10,000 keys, as docs/relays.md has it
	PYTHONPATH=layers/aggregator .venv/bin/python -m scripts.measure_calls $(ARGS)

.PHONY: cost
cost: $(DEV) ## Measure what the bill is made of, and write the tables of docs/cost.md
	PYTHONPATH=layers/aggregator .venv/bin/python -m scripts.cost --measure

.PHONY: build
build: $(DEPLOY) ## sam build: the functions, and the layer for either processor
	PYTHON="$(CURDIR)/.venv-deploy/bin/python" .venv-deploy/bin/sam build $(ARGS)

.PHONY: package
package: build $(LOCAL) ## The template, a zip for each artefact and their checksums, into dist/
	@.venv/bin/python -m scripts.package $(if $(BUCKET),--bucket "$(BUCKET)" --prefix "$(PREFIX)")

.PHONY: validate
validate: $(DEPLOY) $(CHECKOV) ## sam validate --lint, cfn-lint with its information rules, checkov
	.venv-deploy/bin/sam validate --lint
	.venv-deploy/bin/cfn-lint --include-checks I -- template.yaml
	.venv-checkov/bin/checkov --quiet --compact --skip-download --framework cloudformation --file template.yaml

# Only the compiled files are ever installed from. They hold a hash of every file and no index.
COMPILE := .venv-deploy/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --upgrade
.PHONY: lock
lock: $(DEPLOY) ## Pin the requirements anew, and write NOTICE after them
	$(COMPILE) layers/aggregator/requirements.in -o layers/aggregator/requirements.txt
	$(COMPILE) -c layers/aggregator/requirements.txt requirements-local.in -o requirements-local.txt
	$(COMPILE) -c requirements-local.txt requirements-dev.in -o requirements-dev.txt
	$(COMPILE) requirements-deploy.in -o requirements-deploy.txt
	$(COMPILE) requirements-checkov.in -o requirements-checkov.txt
	@$(MAKE) $(DEV)
	.venv/bin/python -m scripts.notice > NOTICE

.PHONY: clean
clean: ## Remove what was made here, the environments included
	rm -rf .venv .venv-deploy .venv-checkov .aws-sam dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: .venv
.venv: $(DEV)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "relay-metrics needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@echo "Making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

$(LOCAL): requirements-local.txt | .venv/bin/python
	@echo "Installing requirements-local.txt into .venv"
	@$(call pip_install,.venv) -r requirements-local.txt
	@touch $@

$(DEV): requirements-dev.txt | .venv/bin/python
	@echo "Installing requirements-dev.txt into .venv"
	@$(call pip_install,.venv) -r requirements-dev.txt
	@touch $@ $(LOCAL)

.venv-deploy/.stamp: requirements-deploy.txt
.venv-checkov/.stamp: requirements-checkov.txt
.venv-deploy/.stamp .venv-checkov/.stamp:
	@test -n "$(PYTHON)" || { echo "relay-metrics needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	@echo "Installing $< into $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(call pip_install,$(@D)) -r $<
	@touch $@
