# The commands of this project; `make help` lists them. Everything generated goes to build/, the environment to .env/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PROFILE := quick
ENV := .env
PYTHON :=

# The Python versions that requirements.lock has been made for, as in pyproject.toml.
OLDEST_PYTHON := 3, 11
FIRST_PYTHON_TOO_NEW := 3, 14

BUILD := build
RUN := $(ENV)/bin/python
PAPERLIB := $(RUN) -m paperlib.repro
export PAPERLIB_BUILD := $(BUILD)
# The sources of this checkout count, also in an environment made for another one.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
export PYTHONNOUSERSITE := 1
# Settings of the user's that would hide figures, strip assertions, run other code or turn warnings into failures.
unexport MPLBACKEND PYTHONOPTIMIZE PYTHONSTARTUP PYTHONWARNINGS
# The environment is installed where we say, whatever pip is told elsewhere.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT

ifneq ($(findstring :,$(CURDIR)),)
$(error The path of this checkout has a colon, which separates entries of PYTHONPATH: move it. It is $(CURDIR))
endif

ifeq ($(filter smoke quick paper,$(PROFILE)),)
$(error PROFILE is '$(PROFILE)'; choose one of smoke, quick, paper)
endif

NOTEBOOKS := $(patsubst notebooks/%.ipynb,%,$(sort $(wildcard notebooks/*.ipynb)))
# The scoreboard comes last: it shows the verdicts of the others.
SCOREBOARD := $(lastword $(NOTEBOOKS))
FIRST := $(firstword $(NOTEBOOKS))

## Set-up

# An environment of one's own is used as it is; only the project's own one is installed and kept current.
ifeq ($(ENV),.env)
READY := .env/.ready
else
READY :=
ifeq ($(wildcard $(RUN)),)
$(error ENV is '$(ENV)', but there is no $(RUN))
endif
endif

CONDA = $(shell for tool in conda mamba micromamba; do command -v $$tool && break; done 2>/dev/null)

.PHONY: env
env: $(READY) ## Make the environment in .env/ (the other commands do so by themselves)

# A half-made environment has no working pip and is made again; a finished one only gets the pins that changed.
.env/.ready: requirements.lock pyproject.toml environment.yml
	@set -e; if ! .env/bin/python -m pip --version >/dev/null 2>&1; then \
	  rm -rf .env; \
	  if [ -z "$(PYTHON)" ] && [ -n "$(CONDA)" ]; then $(call create_with_conda,$(CONDA)); \
	  else $(create_with_venv); fi; \
	fi
	.env/bin/python -m pip install --disable-pip-version-check -r requirements.lock -e .
	@touch $@

define create_with_conda
echo "making .env/ with $(1)"; \
if [ "$(notdir $(1))" = micromamba ]; then $(1) create --yes --prefix .env --file environment.yml; \
else $(1) env create --prefix .env --file environment.yml; fi
endef

define create_with_venv
for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
  if $$python -c 'import sys; sys.exit(not ($(OLDEST_PYTHON)) <= sys.version_info < ($(FIRST_PYTHON_TOO_NEW)))' 2>/dev/null; \
  then chosen=$$python; break; fi; \
done; \
if [ -z "$$chosen" ]; then \
  echo "make: Python $(subst $(comma) ,.,$(OLDEST_PYTHON)) or newer, below $(subst $(comma) ,.,$(FIRST_PYTHON_TOO_NEW)), is needed$(if $(PYTHON),; $(PYTHON) is not one,; none is on PATH). Name one with PYTHON=/path/to/python" >&2; exit 1; \
fi; \
if ! $$chosen -c 'import venv, ensurepip' 2>/dev/null; then \
  echo "make: $$chosen has no venv module (on Debian and Ubuntu: install python3-venv). Name another one with PYTHON=/path/to/python" >&2; exit 1; \
fi; \
echo "making .env/ with $$chosen"; $$chosen -m venv .env
endef

comma := ,

## Notebooks

# Two notebooks side by side unless -j says otherwise: each keeps to one core, and two fit into a laptop's memory.
SIDE_BY_SIDE = $(if $(findstring -j,$(MAKEFLAGS)),,-j2)

.PHONY: reproduce
reproduce: $(READY) ## Execute every notebook that is not up to date; PROFILE=smoke|quick|paper (default quick)
	@status=0; \
	outdated=$$($(PAPERLIB) outdated --profile $(PROFILE)) || status=1; \
	[ -z "$$outdated" ] || $(MAKE) $(SIDE_BY_SIDE) --no-print-directory --keep-going $$outdated || status=1; \
	$(MAKE) --no-print-directory notebooks/$(SCOREBOARD) || status=1; \
	$(PAPERLIB) status || status=1; \
	$(PAPERLIB) claims --strict || status=1; \
	exit $$status

# Whether a notebook is up to date is judged by the content of what it reads and makes (paperlib.repro.pipeline), in
# reproduce by one process for all, and when its turn comes once more.
.PHONY: $(NOTEBOOKS:%=notebooks/%)
$(NOTEBOOKS:%=notebooks/%): notebooks/%: $(READY)
	@$(PAPERLIB) run $* --if-out-of-date --profile $(PROFILE)

.PHONY: publish
publish: reproduce ## Reproduce, then copy the outputs back into notebooks/, ready to commit
	@$(PAPERLIB) publish
# The first notebook shows the verdicts just published.
	@$(PAPERLIB) run $(FIRST) --if-out-of-date --profile $(PROFILE)
	@$(PAPERLIB) publish $(FIRST)

.PHONY: results
results: $(READY) ## Write RESULTS.md and the counts in README.md from the recorded tables
	@OMP_NUM_THREADS=1 $(RUN) -m paperlib.results_page

## Checks

.PHONY: test
test: lint ## Lint, unit and property tests, and every notebook at profile smoke
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 tests
	$(MAKE) --no-print-directory test-notebooks

# What a change breaks first: the pipeline, the ledger, the public mathematics. Everything else is left to make test.
FAST := claims closed_form code_revision critic_geometry finite_mdp imports lipschitz_constants losses notebooks policies \
  replay settings smoothness statistics step_sizes store streams

.PHONY: test-fast
test-fast: lint ## Lint and the quickest tests, for while one works
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -q $(FAST:%=tests/test_%.py)

.PHONY: test-notebooks
test-notebooks: $(READY) ## Every notebook at profile smoke, its checked outputs compared
	rm -rf build/nbval
	OMP_NUM_THREADS=1 PAPERLIB_PROFILE=smoke PAPERLIB_BUILD=build/nbval $(RUN) -m pytest --nbval-lax --nbval-current-env \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 900 -p paperlib.repro.nbval_kernels \
	  -p no:cacheprovider notebooks

.PHONY: lint
lint: $(READY) ## Lint the sources and the notebooks, check the types of what others import
	$(RUN) -m ruff check .
	$(RUN) -m mypy

.PHONY: bench
bench: $(READY) ## Run the benchmarks on this machine
	@$(PAPERLIB) bench

## Other

.PHONY: clean
clean: ## Remove everything generated in build/ but the run store; the environment stays
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name runs -exec rm -rf {} +

.PHONY: clean-runs
clean-runs: ## Remove the run store, build/runs/: what was trained is trained again
	rm -rf build/runs

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2}' Makefile
	@printf "  make %-24s %s\n" notebooks/NN_name "Execute one notebook if it is not up to date"
	@echo "With ENV=/path/to/environment a command uses that environment as it is; PYTHON=/path/to/python chooses"
	@echo "the Python that .env/ is made with; two notebooks execute side by side, N with make -jN."
