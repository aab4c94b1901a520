# One way for each chore. Every target makes the virtual environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
MINUTES ?= 1
TESTERS ?= 3

.PHONY: help setup serve test check bench fuzz lock clean
help:            ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/:/' | column -t -s:

setup: $(VENV)/dev.done  ## install everything that development needs

serve: $(VENV)/run.done  ## start Catchment; data in ./data (or DATA=dir)
	@exec $(BIN)/catchment serve --data-dir $(DATA)

test: $(VENV)/dev.done   ## run the tests, TESTERS=3 files at a time
	$(BIN)/pytest -n $(TESTERS) --dist loadfile

check: $(VENV)/dev.done  ## format, lint, types, import rules, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/audit.py

bench: $(VENV)/dev.done  ## measure on loopback and print the figures
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/overload.py

fuzz: $(VENV)/dev.done   ## feed every door what nobody would send; MINUTES=1 for each target
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

lock: $(VENV)/dev.done   ## choose newest versions again and pin them with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-find-links --upgrade \
	  --custom-compile-command "make lock" pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-find-links --upgrade \
	  --custom-compile-command "make lock" -c requirements/run.txt --extra dev pyproject.toml -o requirements/dev.txt

clean:           ## remove the virtual environment and caches, not the data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .fuzz

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Catchment needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@sh scripts/venv $(PYTHON) $(VENV)

$(VENV)/run.done: $(BIN)/python requirements/run.txt pyproject.toml
	@echo "Installing Catchment into $(VENV) (the first time takes a minute) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.done: $(VENV)/run.done requirements/dev.txt
	@echo "Installing the development tools into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
