# Each target first installs what it needs into .venv. ARGS are passed to the command:
# make train ARGS="trainer.max_epochs=3"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# MAKE_TERMOUT is set on a terminal; there pip shows its progress.
PIP := $(BIN)/python -m pip install $(if $(MAKE_TERMOUT),,--quiet) --disable-pip-version-check \
	--constraint constraints.txt
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
SERVE := $(VENV)/.installed-serve
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install train lab compare serve test chaos check format benchmark tensorboard clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(BASE) ## Create .venv and install what training needs (about 1.5 minutes, 5.9 GB)

$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

# Tests, style and types also need all extras: another minute and 0.6 GB.
$(DEV): $(BASE)
	$(PIP) --editable '.[dev]'
	@touch $@

# The page, and reading exported networks: another 0.1 GB.
$(SERVE): $(BASE)
	$(PIP) --editable '.[serve,onnx]'
	@touch $@

train: $(BASE) ## Train a CNN on MNIST and test it (2 to 3 minutes)
	$(BIN)/python -m mnist_vision.train $(ARGS)

lab: $(BASE) ## Train the lab's four networks and compare them in one report (6 to 17 minutes)
	@$(BIN)/python -m mnist_vision.train search=lab hydra.sweep.dir=outputs/lab sweep.resume=true $(ARGS); \
	status=$$?; test $$status -lt 128 || exit $$status; \
	$(BIN)/python -m mnist_vision.compare outputs/lab --output outputs/lab && exit $$status

compare: $(BASE) ## Compare all runs in one report
	$(BIN)/python -m mnist_vision.compare $(ARGS)

serve: $(SERVE) ## Draw digits in the browser; each trained network reads them
	$(BIN)/python -m mnist_vision.serve $(ARGS)

test: $(DEV) ## Run the tests, with the real data (about 12 minutes)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

chaos: $(DEV) ## Harm real runs at random; each must end as if nothing had happened (20 minutes)
	$(BIN)/python -m pytest -m slow --capture=no tests/test_chaos.py $(ARGS)

check: $(DEV) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV) ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(SERVE) ## Measure speed against baselines (about 15 minutes)
	$(BIN)/python -m mnist_vision.benchmark $(ARGS)

tensorboard: $(BASE) ## Show all runs in TensorBoard
	$(BIN)/tensorboard --logdir outputs

clean: ## Remove .venv and caches, but not outputs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
