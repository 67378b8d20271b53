# Clearline. `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ORDERS ?= examples/orders.csv examples/wallet-orders.csv
HOME_DIR ?= .clearline/dev
ENGINE ?= embedded
ROUNDS ?= 3
MINUTES ?= 10
# One more than the smallest machine has cores: a third of the tests' time is waiting.
WORKERS ?= 3

# Some images set it. Every process of a house, some hundreds in the tests, would compile again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup pkcs11 run up down test check bench bench-ledger soak ca clean

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## make .venv and install the pinned, hashed requirements into it
	@$(PYTHON) scripts/setup.py $(VENV)

pkcs11: setup ## add what a signing key in a PKCS#11 token needs (docs/keys.md)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/pkcs11.txt

run: setup ## the whole way once: start, pay an order file, verify the ledger, stop (ORDERS="file.csv ...")
	@$(BIN)/clearline run --engine $(ENGINE) $(foreach file,$(ORDERS),--orders "$(file)")

up: setup ## start everything, leave it running, and print what to try next (STANDBY=1)
	@$(BIN)/clearline up --engine $(ENGINE) --home "$(HOME_DIR)" $(if $(STANDBY),--standby)

down: setup ## stop what `make up` started
	@$(BIN)/clearline down --home "$(HOME_DIR)"

test: setup ## every test: tables, protocols over real sockets, end to end, kill -9 (WORKERS=1)
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope --no-loadscope-reorder

check: setup ## style, types, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python scripts/types_of_tests.py
	@$(BIN)/lint-imports

bench: setup ## speed of the whole house beside its bars, a few minutes (ROUNDS=5 for the bars)
	@$(BIN)/python scripts/bench.py --rounds $(ROUNDS)

bench-ledger: setup ## the ledger alone: our shim beside Go's, both engines with FABRIC_BIN
	@$(BIN)/python scripts/bench_ledger.py --rounds $(ROUNDS)

soak: setup ## ten minutes at 70% of the load: latencies over time, memory (MINUTES=2)
	@$(BIN)/python scripts/bench_soak.py --minutes $(MINUTES)

ca: ## build Fabric's CA server (needs Go and a C compiler): .clearline/bin/fabric-ca-server
	@mkdir -p .clearline/bin
	@cd tools/ca && go build -trimpath -buildvcs=false -o ../../.clearline/bin/ tool

clean: ## remove the virtual environment and everything that runs left behind
	@if [ -x $(BIN)/clearline ] && [ -d "$(HOME_DIR)" ]; then $(BIN)/clearline down --home "$(HOME_DIR)"; fi
	rm -rf $(VENV) .clearline build ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
