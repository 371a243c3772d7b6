# `make lab` and `make test` set everything up by themselves, in .venv; `make help` lists the rest.
PYTHON ?= python3
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# What a run leaves in a notebook and a reader does not need.
STRIP := nbstripout --keep-output --keep-count \
	--extra-keys "metadata.widgets metadata.language_info.version cell.metadata.execution"

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup lab test lint unit nbval browser notebooks clean

help: ## say what each command does
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' Makefile | while IFS='|' read -r name text; do printf '%-16s %s\n' "$$name" "$$text"; done

setup: ## make .venv with all that is needed; a second run needs no network
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null || { \
	  echo "$(PYTHON) is missing or too old: install Python 3.11 or newer, or name the one you have, as in 'make lab PYTHON=python3.12'." >&2; exit 1; }
	@"$(PYTHON)" tools/setup.py

lab: setup ## open JupyterLab on the start notebook (ARGS="--no-browser --port 9000" are passed on)
	@$(IN_VENV) jupyter trust $(NOTEBOOKS) > /dev/null
	@$(IN_VENV) jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
	  $$(test "$$(id -u)" != 0 || echo --allow-root) $(ARGS)

test: lint unit nbval browser ## run every test, the quick ones first

lint: setup ## check style and types
	$(IN_VENV) ruff check .
	$(IN_VENV) mypy

unit: setup ## run the tests that need no browser
	$(IN_VENV) pytest -m "not browser" -n 2 --dist worksteal

nbval: setup ## run every notebook and compare what it prints and draws with what is stored
	$(IN_VENV) NASVIZ_STATIC=1 pytest --nbval --nbval-current-env -n 2 --dist loadfile notebooks

browser: setup ## run the tests that drive JupyterLab in Chromium (NAS_REQUIRE_BROWSER=1: no browser is a failure)
	$(IN_VENV) pytest -m browser -n 2 --dist worksteal

notebooks: setup ## run every notebook and store what it shows, for a change that is meant
	$(IN_VENV) NASVIZ_STATIC=1 jupyter nbconvert --to notebook --execute --inplace $(NOTEBOOKS)
	$(IN_VENV) $(STRIP) $(NOTEBOOKS)

clean: ## remove the environment, the caches and what the tests wrote (not your runs)
	rm -rf .venv build dist artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find nascore nasviz tests tools benchmarks notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
