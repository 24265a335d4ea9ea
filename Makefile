# Each target sets up .venv when it is missing or older than the files that define it, and works without root and without a compiler.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo test lint format typecheck bench clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make .venv with the tested versions and vo3d in it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vo3d needs Python 3.11 or newer, found $$($(PYTHON) --version 2>&1): run make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,textures]'
	@touch $@

# One thread, here and for the suite: on tensors this small a second one gains a tenth, and waits badly where other work
# shares the cores. OMP_NUM_THREADS in the environment overrules it.
ONE_THREAD = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1}

demo: $(READY) ## Train DeepVO on a rendered street, score it beside two baselines, write a report
	$(ONE_THREAD) $(BIN)/vo3d demo

test: $(READY) ## Run the whole suite, a process for each of up to eight cores
	$(ONE_THREAD) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

lint: $(READY) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY) ## Mend format and style where a machine can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typecheck: $(READY) ## Check types on an installed copy, because mypy cannot see through the package mapping
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target build/typecheck .
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p vo3d

bench: $(READY) ## Run the benchmarks whose results are in docs/benchmarks.md
	@for script in tools/benchmark_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## Remove what was built, but not .venv and not runs
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
