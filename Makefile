# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Programs started by `mlflow run --env-manager=local` are found through PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY ?= true
# Without bytecode on disk, every program compiles PyTorch and MLflow again, which takes 5 seconds.
export PYTHONDONTWRITEBYTECODE :=
PORT ?= 5000
# Test processes: more than cores, because many tests wait for servers and killed processes.
TESTERS ?= 4
EXTRAS := dev,cluster,postgres,docs
# The environment whose versions `make constraints` writes down (.venv-latest: those of `make test-latest`).
TESTED ?= .venv
# MLflow's own default store: mlflow.db and mlruns/ in the project folder.
quickstart serve sweep-demo screenshots: export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlflow.db

.PHONY: help setup quickstart serve sweep-demo screenshots results test test-fast test-latest coverage docs mutants lint format constraints clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs in seconds, pip in minutes; pip is used if uv is missing or fails.
define install
	@{ [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt -e '$(1)'; } || \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt -e '$(1)'
endef

.venv/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); expected Python 3.11 or newer (make PYTHON=python3.12 …)" >&2; exit 2; }
	@echo "Setting up .venv with PyTorch and MLflow: 1 to 5 minutes, up to 3 GB of downloads on Linux (PyTorch with CUDA)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be installed; using pip, which takes longer"
	$(call install,.)
	@touch $@

.venv/.dev: .venv/.core
	@echo "Installing the packages for tests and development (Ray, mypy, Selenium, …): 1 to 2 minutes"
	$(call install,.[$(EXTRAS)])
	@touch $@

setup: .venv/.dev ## Create .venv with the project and all packages for tests and development

quickstart: .venv/.core ## Train on digits through MLflow, run a small sweep, print how to view the runs
	mlflow run . --env-manager=local --experiment-name quickstart
	mlflow run . --env-manager=local --experiment-name quickstart -e sweep -P grid=grids/quick/tour.yaml
	@printf '\nLook at the runs and the dashboards:\n\n  make serve\n\n  MLflow      http://127.0.0.1:$(PORT)/\n  dashboards  http://127.0.0.1:$(PORT)/dashboards/\n\n'

serve: .venv/.core ## Serve MLflow's UI and the dashboards on http://127.0.0.1:5000 (PORT=… for another port)
	$(BIN)/python -m entry_points serve --port $(PORT)

sweep-demo: .venv/.core ## Run a quick grid on digits; if you interrupt it, run it again to resume
	mlflow run . --env-manager=local --experiment-name sweep-demo -e sweep -P grid=grids/quick/scores.yaml

screenshots: .venv/.dev ## Take the README's pictures of the dashboards, with the current store (needs Chromium)
	$(BIN)/python -m benchmarks screenshots --tracking_uri $(MLFLOW_TRACKING_URI)

results: .venv/.core ## Render the documents' tables, numbers and figures from results/*.csv
	$(BIN)/python -m results render

test: .venv/.dev ## Run all tests (TESTERS=… processes)
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal

test-latest: export PATH := $(CURDIR)/.venv-latest/bin:$(PATH)
test-latest: .venv/.core ## Run all tests with the newest versions that pyproject.toml allows, in .venv-latest
	$(PYTHON) -m venv --clear .venv-latest
	$(BIN)/uv pip install --quiet --python .venv-latest/bin/python -e '.[$(EXTRAS)]'
	$(BIN)/uv pip freeze --python .venv-latest/bin/python --exclude-editable | grep -E '^(mlflow|torch|torchvision|ray)=='
	.venv-latest/bin/python -m pytest --numprocesses $(TESTERS) --dist worksteal

test-fast: .venv/.dev ## Run the tests that start no servers, browsers or long processes
	$(BIN)/python -m pytest -m 'not integration and not real'

coverage: .venv/.dev ## Run all tests, then list the code that no test reaches, including child processes
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

mutants: .venv/.dev ## Change the code at random places and report which changes the fast tests do not notice
	nice -n 15 $(BIN)/python -m benchmarks mutants

docs: .venv/.dev ## Build the documentation site into site/; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: .venv/.dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: .venv/.core ## Write constraints.txt from the versions in TESTED=.venv, for Python 3.11.5 and later
	$(BIN)/uv pip freeze --python $(TESTED)/bin/python --exclude-editable | grep -v '^uv==' | sed 's/+.*//' > .venv/tested.txt
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11.5 --all-extras \
	  --constraints .venv/tested.txt --no-header --no-annotate \
	  --output-file constraints.txt >/dev/null

clean: ## Remove the environments and caches (keeps mlflow.db and mlruns)
	rm -rf .venv .venv-latest .pytest_cache .mypy_cache .ruff_cache *.egg-info
