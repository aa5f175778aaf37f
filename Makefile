# The two commands of a new user are `make up` and `make test`.
# DATA_DIR and UP_FLAGS reach `proa up`: make up UP_FLAGS=--strict
DATA_DIR ?= /var/lib/proa
PROA = .venv/bin/proa
PYTEST = .venv/bin/pytest
export PROA_DATA_DIR = $(DATA_DIR)

.PHONY: up down test setup setup-test test-vm check format lint types imports tidy unit api e2e sim bench reference

setup:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test

up: setup
	@$(PROA) up --detach $(UP_FLAGS)
	@examples/demo/deploy.sh

down:
	@$(PROA) down

test: setup-test check unit api e2e sim

check: format lint types imports tidy

format: ; .venv/bin/ruff format --check
lint: ; .venv/bin/ruff check
types: ; .venv/bin/mypy
imports: ; .venv/bin/lint-imports --no-cache
tidy: ; $(PYTEST) tests/test_tidy.py

unit: ; $(PYTEST) -n 2 --dist loadfile tests/unit tests/conformance tests/protocols
api: ; $(PYTEST) tests/api
e2e: ; $(PYTEST) tests/e2e
sim: ; $(PYTEST) tests/sim

# A new machine, up to its reboot, in QEMU; see tests/vm. Takes a quarter of an hour and more.
test-vm:
	@tools/setup.sh vm
	PROA_TEST_VM=1 $(PYTEST) -s tests/vm

# A quarter of an hour on a quiet machine: the table, bench/report.html and bench/report.json.
bench: ; $(PROA) bench --report bench/report.html --save bench/report.json

reference: ; .venv/bin/python tools/build_reference.py
