# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Programs started by `mlflow run --env-manager=local` are found through PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# MLflow's own default store: mlflow.db and mlruns/ in the project folder.
export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/mlflow.db

.PHONY: help setup quickstart serve test test-fast lint format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); accepted: Python 3.11 or newer (make PYTHON=python3.12 …)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

setup: .venv/.installed ## Make .venv with the project and its dependencies

quickstart: .venv/.installed ## Train clean and poisoned models on digits, tracked in MLflow
	mlflow run . --env-manager=local --experiment-name quickstart

serve: .venv/.installed ## Open MLflow's UI on http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port 5000 --workers 1 \
	  --backend-store-uri $(MLFLOW_TRACKING_URI)

test: .venv/.installed ## Run all tests
	$(BIN)/python -m pytest

test-fast: .venv/.installed ## Run the tests that start no servers, browsers or long processes
	$(BIN)/python -m pytest -m 'not integration and not real'

lint: .venv/.installed ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and caches (keeps mlflow.db and mlruns)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info
