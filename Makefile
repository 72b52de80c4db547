# Two commands matter: `make fit` and `make test`. `make help` lists the rest.
#
#   make PYTHON=python3.12 fit       another interpreter (3.11 or newer)
#   make fit FIT_ARGS="--short"      options for physhmr_kit.fit
#   make test TEST_ARGS="-k rays"    options for pytest
#   make mutants MUTANTS_ARGS="--only ppo"    options for tests/mutants/run.py
#   make weights WEIGHTS_ARGS="--list"    options for benchmarks/build_weights.py
#   make site EXECUTE=               without running the lessons first (minutes); those already run show their pictures and tables

PYTHON ?= python3
VENV ?= .venv
FIT_ARGS ?=
TEST_ARGS ?=
MUTANTS_ARGS ?=
WEIGHTS_ARGS ?=
EXECUTE ?= 1
export PHYSHMR_DATA ?= $(abspath ../shared/data)
# without compiled modules every process would compile PyTorch and Lightning anew, half a minute each time
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
# Python compiles a module when it is first imported; compiling everything at once would double the time of the install.
INSTALL := $(BIN)/python -m pip install --quiet --quiet --no-compile --disable-pip-version-check --constraint constraints.txt

.PHONY: help install fit test mutants weights lint lab notebooks notebooks-check notebooks-run site site-test constraints clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

install: $(VENV)/.installed ## make .venv with the pinned dependencies and the kit in it

fit: $(VENV)/.installed ## distil the vision-conditioned policy on the demo motions
	$(BIN)/python -m physhmr_kit.fit --stage distill $(FIT_ARGS)

test: $(VENV)/.installed-dev ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

mutants: $(VENV)/.installed-dev ## break the kit one line at a time: do the tests notice?
	$(BIN)/python tests/mutants/run.py $(MUTANTS_ARGS)

lint: $(VENV)/.installed-dev ## style (ruff), import layers (import-linter) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

lab: $(VENV)/.installed-lab ## open the lessons in JupyterLab
	$(BIN)/python -m jupyter lab notebooks

notebooks: $(VENV)/.installed-dev ## build notebooks/*.ipynb from the lessons in tutorials/*.py
	$(BIN)/python notebooks/build.py

notebooks-check: $(VENV)/.installed-dev ## do the notebooks match the lessons?
	$(BIN)/python notebooks/build.py --check

notebooks-run: $(VENV)/.installed-dev ## run every notebook from top to bottom
	CI=true $(BIN)/python -m pytest --numprocesses auto notebooks

weights: $(VENV)/.installed ## train every bundled weights file from nothing: a day on two cores, resumable
	$(BIN)/python benchmarks/build_weights.py $(WEIGHTS_ARGS)

site: $(VENV)/.installed-dev ## build the site into build/site; read it with: python3 -m http.server --directory build/site
	$(BIN)/python docs/site/build.py $(if $(EXECUTE),--execute)

site-test: site ## check links and images of every page, and open some in Chromium
	PHYSHMR_SITE=build/site $(BIN)/python -m pytest --numprocesses auto tests/site $(TEST_ARGS)

constraints: ## after a change of the dependencies: resolve them anew and pin what came out
	rm -rf build/pins && $(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --disable-pip-version-check '.[notebooks,site,gpu,dev]' torch==2.13.0
	build/pins/bin/python -m pip freeze --exclude physhmr_kit | sed -E 's/\+[a-z0-9.]+$$//' > build/pins.txt
	(sed -n '/^#/p' constraints.txt && cat build/pins.txt) > build/constraints.txt && mv build/constraints.txt constraints.txt

clean: ## remove the environment and the caches (never runs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .mypy_cache MUJOCO_LOG.TXT
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +

# A stamp is newer than the pins it was installed from, so a second `make` installs nothing.
$(VENV)/.installed $(VENV)/.installed-dev: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit("error: $(PYTHON) is Python " + v + ", the kit needs 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Installing the pinned dependencies into $(VENV): a minute from a warm cache, longer the first time."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --editable '.$(EXTRAS)'
	@touch $(VENV)/.installed $@

# tests, lessons and the site in one go: every call of pip resolves anew
$(VENV)/.installed-dev: EXTRAS := [dev,gpu,site]

$(VENV)/.installed-lab: $(VENV)/.installed
	@echo "Installing JupyterLab into $(VENV)."
	@$(INSTALL) --editable '.[notebooks]'
	@touch $@
