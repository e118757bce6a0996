# Everything a newcomer needs. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Further arguments for pip, such as an index with CPU builds of torch: make install PIP_ARGS="--extra-index-url ..."
PIP_ARGS    ?=
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile
ARGS        ?=
BENCH       ?= $(basename $(notdir $(wildcard benchmarks/*.py)))

.DEFAULT_GOAL := help
.PHONY: help install demo test lint serve docs bench openapi clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## Set up .venv with the exact versions of constraints.txt

demo: install  ## Series -> spectrum -> model -> forecast, on a service of its own (ARGS="--series FILE" for yours)
	@$(BIN)/attractor demo $(ARGS)

test: $(VENV)/.installed-dev  ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_ARGS) $(ARGS)

lint: $(VENV)/.installed-dev  ## Style, types and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: install  ## Start the service with its page on http://127.0.0.1:8000 (ARGS="--port 9000")
	@$(BIN)/attractor serve $(ARGS)

docs: $(VENV)/.installed-dev  ## Build the guides as a site: site/index.html, to be opened as it is
	@$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev  ## Measure anew what benchmarks/*.json say (BENCH="load upload" for some of it)
	@for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS) || exit 1; done

openapi: install  ## Write docs/openapi.json anew after a change of the API
	$(BIN)/python -m api.openapi

clean:  ## Remove what was built, installed and drawn here (not your attractor-data/)
	rm -rf $(VENV) build dist site demo-output *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "attractor needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one:  make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# --only-binary: wheels throughout, so that no compiler is ever needed; the project itself is pure Python.
define pip_install
	@echo "Installing into $(VENV) (the first time this takes a few minutes: torch is large) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -c constraints.txt $(PIP_ARGS) setuptools
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-build-isolation -c constraints.txt $(PIP_ARGS) -e '$(1)'
endef

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(call pip_install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call pip_install,.[dev])
	@touch $@ $(VENV)/.installed
