# The verbs of a developer and of CI alike; each does its own set-up.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test schema clean llama-cpp
.DELETE_ON_ERROR:

help:  ## what each target does
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## .venv with pinned dependencies, and llama.cpp's tools in the user's cache
	@$(MAKE) --no-print-directory -j2 .venv/installed llama-cpp

demo: setup  ## a tiny model from a recipe to three repositories on an embedded Hub, and used from there
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m localpsych_recipes.demo

# Tests of one file share what they make, so that a file stays in one process; four, since each holds models. Files are
# given out as conftest.py orders them: xdist would begin with those of many tests, which are the quick ones.
test: setup  ## all tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

schema: .venv/installed  ## recipes/schema.json, which editors check recipes with, from the code
	@$(BIN)/python -m localpsych_recipes.recipe recipes/schema.json

clean:  ## removes .venv and what Python left behind; the user's cache and runs stay
	rm -rf .venv .pytest_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation is taken up again.
.venv/installed: setup.cfg pyproject.toml constraints.txt | .venv/bin/pip
	@echo "Installing what constraints.txt names into .venv" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

# Needs nothing of what is installed, so that it compiles while packages are fetched.
llama-cpp: | .venv/bin/pip
	@$(BIN)/python -m localpsych_recipes.llama_cpp

.venv/bin/pip:
	@$(check_machine)
	@$(PYTHON) -m venv .venv

# A compiler is needed only where llama.cpp's tools are not there already.
define check_machine
missing=""; \
$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || missing=" python3-venv"; \
if [ -z "$$LLAMA_CPP_HOME" ] && ! command -v llama-quantize >/dev/null; then \
  for tool in cmake gcc g++; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
fi; \
if [ -n "$$missing" ]; then \
  echo "not on this machine:$$missing" >&2; \
  echo "  expected: Python 3.11 or newer with venv (tried: $(PYTHON)), cmake, gcc and g++" >&2; \
  echo "  do: apt-get install$$missing (Debian, Ubuntu), or name another Python with PYTHON=..." >&2; \
  exit 2; \
fi
endef
