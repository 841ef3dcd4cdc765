# Every command a person or CI needs. `make certify` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip
QUIET  := --quiet --disable-pip-version-check
SEED   ?=
ARGS   ?=
DEPTH  ?= quick
# Trials mostly wait for elections: more workers than cores pay.
WORKERS ?= 4
CLAIMS  ?= suites/

.PHONY: help setup develop first certify test check bench mutants kind load soak capacity reference track-record lock clean

help:            ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Virtual environment from the lock, nats-server and nats CLI

# The programs come while the packages come: the one builds, the other waits for the network. uv reads no pip
# configuration; where it cannot install (a mirror only pip knows), pip does.
$(VENV)/.ready: requirements.lock requirements-setup.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@PYTHONPATH=. $(BIN)/python -P natsproof/cluster/binaries.py manifests & programs=$$!; \
	$(PIP) install $(QUIET) --no-compile --require-hashes -r requirements-setup.lock && \
	{ $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock || \
	  $(PIP) install $(QUIET) --require-hashes -r requirements.lock; } && \
	$(PIP) install -qq --no-index --no-deps --no-build-isolation --editable . ; \
	packages=$$?; wait $$programs && exit $$packages
	@touch $@

develop: $(VENV)/.developed ## What natsproof's own tests and checks need beside

$(VENV)/.developed: $(VENV)/.ready requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock || \
	  $(PIP) install $(QUIET) --require-hashes -r requirements-dev.lock
	@touch $@

first: setup     ## A first certificate, in a minute: the rules, and the quorum and durability of killed servers
	$(BIN)/python -m pytest suites/test_contract.py suites/test_deployment.py suites/test_quorum.py \
	  suites/test_durability.py -k "not rolling-restart and not pause" -n $(WORKERS) --dist loadgroup \
	  --no-loadscope-reorder --depth quick $(if $(SEED),--seed $(SEED)) $(ARGS)

certify: setup   ## Certify manifests/ on three real servers; report in reports/latest/
	$(BIN)/python -m pytest $(CLAIMS) -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m "not load" \
	  --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

test: develop    ## natsproof's own tests
	$(BIN)/python -m pytest tests/ -n 2 -q $(ARGS)

check: develop   ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: develop   ## Measured figures as medians; the table goes to docs/benchmarks.md
	$(BIN)/python -m bench $(ARGS)

mutants: develop ## The claim x mutant matrix and its score
	$(BIN)/python -m tests.mutants $(ARGS)

kind: setup      ## Certify on a kind cluster made for this run; load there: make load ARGS="--cluster kind"
	$(BIN)/python -m pytest $(CLAIMS) --cluster kind -m "not load" --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

load: setup      ## The promised rate and latency, through repeated kills, under Locust
	$(BIN)/python -m pytest suites/test_throughput.py --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: setup      ## 200 leader kills under load, one after the other: about 25 minutes
	$(BIN)/python -m pytest suites/test_throughput.py -k soak --depth deep $(if $(SEED),--seed $(SEED)) $(ARGS)

capacity: setup  ## How much the platform takes, under pod kills too
	$(BIN)/python -m pytest suites/test_capacity.py --depth $(DEPTH) $(if $(SEED),--seed $(SEED)) $(ARGS)

reference: develop ## docs/claims.md from the suites, the rules and the mutants
	$(BIN)/python -m tests.reference

track-record: develop ## Find a published defect again: make track-record ISSUE=7564
	$(BIN)/python -m tests.track_record $(ISSUE)

lock: develop    ## Renew the locks (hashes, no addresses): to run, to set up, to develop
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --group setup -o requirements-setup.lock
	$(COMPILE) --group dev --extra sigstore -c requirements.lock pyproject.toml -o requirements-dev.lock

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate

clean:           ## Remove what was generated here
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache reports/2*
