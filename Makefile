# setup: .venv from the lock; demo, test, lint, bench, docs do their own set-up.
PYTHON := $(shell for p in python3.12 python3.11; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
EMODB ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test nightly faults fuzz mutants structure lint postgres vad export-tools bench bench-scale bench-gpu docs lock clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: found neither python3.12 nor python3.11; install one of them"; exit 2; }
	@command -v g++ >/dev/null || { echo "make: found no g++; a dependency of ESPnet is built from source: install a C++ compiler"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	recipes/demo.sh exp/demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=95
	@echo "left out: the nightly tests (each network of the benchmark, one epoch); 'make nightly' runs them"

# One epoch of each network of the paper's Table 5; needs 2 GB of disk for a moment.
nightly: setup
	$(BIN)/python -m pytest -m nightly --durations=25

# 100 kills, and a disk that is full, read-only or closed from 60 moments of each run on; about ten minutes, needs gcc.
faults: setup
	$(BIN)/python benchmarks/faults/run.py

# Every reader on nearly right files: FUZZ_INPUTS of them, the same ones for the same FUZZ_SEED; about eight minutes.
FUZZ_INPUTS ?= 100000
FUZZ_SEED ?= 1
fuzz: setup
	$(BIN)/python tests/fuzz/campaign.py --inputs $(FUZZ_INPUTS) --seed $(FUZZ_SEED)

$(VENV)/.mutants: $(VENV)/.installed requirements-mutants.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-mutants.lock
	touch $@

# Nightly: one change at a time in what chooses, splits and scores, and the tests that must notice it; hours for
# all, about half an hour for MUTANTS=200 of them at random.
MUTANTS ?=
MUTANTS_SEED ?= 0
mutants: $(VENV)/.mutants
	$(BIN)/python benchmarks/mutants.py $(if $(MUTANTS),--sample $(MUTANTS)) --seed $(MUTANTS_SEED)

# How many modules, lines, importers and names there are; fails beyond the limits.
structure: setup
	$(BIN)/python tests/support/structure.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.postgres: $(VENV)/.installed requirements-postgres.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-postgres.lock
	touch $@

$(VENV)/.vad: $(VENV)/.installed requirements-vad.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-vad.lock
	touch $@

# The voice activity detector for 'sertransfer predict' on recordings without a transcript.
vad: $(VENV)/.vad

# The driver for 'sertransfer tune --storage postgresql://...'.
postgres: $(VENV)/.postgres

$(VENV)/.export: $(VENV)/.installed requirements-export.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-export.lock
	touch $@

# What 'sertransfer export --onnx' writes and checks with.
export-tools: $(VENV)/.export

$(VENV)/.bench: $(VENV)/.installed benchmarks/requirements.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r benchmarks/requirements.lock
	touch $@

# EMODB=DIR names a folder with EmoDB's wav/, for the rows that need real speech.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/run.py $(if $(EMODB),--emodb $(EMODB))

# LSSED's true size, minutes; time and memory at 1, 4 and 16 times the data, minutes; DAIC-WOZ's true size, about
# half an hour and 6 GB of disk for a while.
bench-scale: $(VENV)/.bench
	$(BIN)/python benchmarks/scale/lssed.py
	$(BIN)/python benchmarks/scale/growth.py
	$(BIN)/python benchmarks/scale/daic.py

# One NVIDIA GPU, under ten minutes, unattended.
bench-gpu: $(VENV)/.bench
	$(BIN)/python benchmarks/gpu/run.py

$(VENV)/.docs: $(VENV)/.installed docs/requirements.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r docs/requirements.lock
	touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Needs uv. The lock holds names, versions and hashes for both Pythons, and no address.
COMPILE = uv pip compile --no-strip-extras --universal --fork-strategy fewest --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --quiet --python-version 3.11
lock:
	$(COMPILE) pyproject.toml --extra dev -o requirements.lock
	echo 'psycopg[binary]' | $(COMPILE) - -c requirements.lock -o requirements-postgres.lock
	echo 'mutmut' | $(COMPILE) - -c requirements.lock -o requirements-mutants.lock
	echo 'silero-vad' | $(COMPILE) - -c requirements.lock -o requirements-vad.lock
	printf 'onnx\nonnxscript\nonnxruntime\n' | $(COMPILE) - -c requirements.lock -o requirements-export.lock
	$(COMPILE) benchmarks/requirements.in -c requirements.lock -o benchmarks/requirements.lock
	$(COMPILE) docs/requirements.in -c requirements.lock -o docs/requirements.lock

clean:
	rm -rf $(VENV) exp site mutants
