# Every command a person or CI needs. `make certify` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEED   ?=
ARGS   ?=
DEPTH  ?= quick
# Trials mostly wait for elections: more workers than cores pay.
WORKERS ?= 4
CLAIMS  ?= suites/

.PHONY: help setup certify test check bench mutants kind load capacity reference track-record lock clean

help:            ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Virtual environment from the lock, nats-server and nats CLI

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -qq --no-index --no-deps --no-build-isolation --editable .
	$(BIN)/python -m natsproof.cluster.binaries manifests
	@touch $@

certify: setup   ## Certify manifests/ on three real servers; report in reports/latest/
	$(BIN)/python -m pytest $(CLAIMS) -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m "not load" \
	  --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

test: setup      ## natsproof's own tests
	$(BIN)/python -m pytest tests/ -n 2 -q $(ARGS)

check: setup     ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup     ## Measured figures as medians; the table goes to docs/benchmarks.md
	$(BIN)/python -m bench $(ARGS)

mutants: setup   ## The claim x mutant matrix and its score
	$(BIN)/python -m tests.mutants $(ARGS)

kind: setup      ## Certify on a kind cluster made for this run
	$(BIN)/python -m pytest $(CLAIMS) --cluster kind --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

load: setup      ## The promised rate and latency, through repeated kills, under Locust
	$(BIN)/python -m pytest suites/test_throughput.py --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

capacity: setup  ## How much the platform takes, under pod kills too
	$(BIN)/python -m pytest suites/test_capacity.py --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

reference: setup ## docs/claims.md from the suites, the rules and the mutants
	$(BIN)/python -m tests.reference

track-record: setup ## Find a published defect again: make track-record ISSUE=7564
	$(BIN)/python -m tests.track_record $(ISSUE)

lock: setup      ## Renew requirements.lock (hashes, no addresses)
	$(BIN)/uv pip compile -q --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate pyproject.toml -o requirements.lock

clean:           ## Remove what was generated here
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache reports/2*
