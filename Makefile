# Two commands: `make run` serves, `make test` proves. Each makes the environment it needs in .venv.
# Needs git, make, pip and Python 3.11 or newer; installs with uv when it is on PATH (UV= says no).

PY ?= python3 python3.14 python3.13 python3.12 python3.11
UV ?= $(shell command -v uv 2>/dev/null)
PIPELINE ?= pipelines/solo.yaml
ARGS ?=
MINUTES ?= 5

VENV := .venv
BIN := $(VENV)/bin
AGENTS := .agents
FUZZED := $(addprefix tests/protocols/test_, fuzz.py properties.py conversations.py)
PIP := pip>=25.3
PIN := -c constraints.txt --build-constraint constraints.txt

# The first candidate of PY that is new enough, as a path; nothing when there is none.
NEW_ENOUGH = import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)
PYTHON = $(shell for py in $(PY); do $$py -c '$(NEW_ENOUGH)' 2>/dev/null && break; done)
TOO_OLD = Penstock needs Python 3.11 or newer and found none (tried: $(PY)). Name one: make PY=/path/to/python3

.PHONY: help run test check docs fuzz bench tokens agents clean
.DELETE_ON_ERROR:

help:  ## show this text
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile
	@echo 'Options: ARGS="..." for run, test, fuzz and bench; MINUTES=5 for fuzz; PIPELINE=file.yaml; PY=/path/to/python3; UV= (use pip)'

run: $(VENV)/.run  ## serve pipelines/solo.yaml, or PIPELINE
	@$(BIN)/penstock serve $(PIPELINE) $(ARGS)

test: $(VENV)/.dev  ## run the tests; ARGS="-k cache" picks some
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(VENV)/.dev  ## format, lint and types (walls and docs are checked by the tests)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright

docs: $(VENV)/.dev  ## write the parts of docs/ that come from the code
	@$(BIN)/python -m docs.generate

fuzz: $(VENV)/.dev  ## throw made-up streams, answers and requests at the protocols for MINUTES=5
	@end=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
	$(BIN)/python -m pytest -q -x --timeout 3600 --hypothesis-profile long $(FUZZED) $(ARGS) || exit 1; done

bench: $(VENV)/.dev  ## measure what the gateway costs
	@$(BIN)/python -m benchmarks $(ARGS)

tokens: $(VENV)/.tokens  ## install the extra for exact token counts (40 MB)

agents: $(AGENTS)/.installed  ## install the agents that tests/agents drives (needs npm)

clean:  ## remove everything that make has made
	rm -rf $(VENV) $(AGENTS) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find core plugins tests -name __pycache__ -prune -exec rm -rf {} +

ifeq ($(UV),)
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check

# Where Python lacks ensurepip (Debian without python3-venv), its own pip fills the environment.
$(BIN)/python:
	@echo 'penstock: making $(VENV) with $(or $(PYTHON),$(error $(TOO_OLD)))'
	@{ $(PYTHON) -m venv $(VENV) >/dev/null && $(INSTALL) '$(PIP)'; } \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip -q --python $(BIN)/python install '$(PIP)'; } \
	|| { rm -rf $(VENV); echo 'penstock: needs a Python with pip (Debian: apt install python3-pip)'; exit 1; }
else
INSTALL := $(UV) -q pip install --python $(BIN)/python

$(BIN)/python:
	@echo 'penstock: making $(VENV) with uv'
	@$(UV) -q venv --python $(or $(PYTHON),$(error $(TOO_OLD))) $(VENV)
endif

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'penstock: installing what it runs on'
	@$(INSTALL) $(PIN) -e '.[database]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo 'penstock: installing what its tests and checks need (half a minute the first time)'
	@$(INSTALL) $(PIN) --group dev
	@touch $@

$(VENV)/.tokens: $(VENV)/.run
	@echo 'penstock: installing the extra [tokens]'
	@$(INSTALL) $(PIN) -e '.[tokens]'
	@touch $@

$(AGENTS)/.installed: tests/agents/package.json
	@command -v npm >/dev/null || { echo 'make agents needs npm'; exit 1; }
	@echo 'penstock: installing the agents into $(AGENTS)'
	@mkdir -p $(AGENTS) && cp $< $(AGENTS)/
	@npm install --prefix $(AGENTS) --no-package-lock --no-audit --no-fund --loglevel=error </dev/null
	@$(AGENTS)/node_modules/.bin/claude --version
	@touch $@
