export OMP_WAIT_POLICY ?= PASSIVE
unexport PYTHONDONTWRITEBYTECODE  # many tests are processes that import torch: compiled once, not each time
MAKEFLAGS += --jobs=2  # two installations at a time; and mypy, which takes a minute, beside all other checks
PY ?= python3
V := .venv

.PHONY: demo test check lint types dry bench docs image mutants fuzz storm clean
demo: $(V)/.ok
	$(V)/bin/owseg demo

test: $(V)/.ok $(V)/.optional
	$(V)/bin/python -m pytest

check: lint types

types: $(V)/.ok
	$(V)/bin/mypy

lint: $(V)/.ok
	$(V)/bin/ruff check .
	$(V)/bin/ruff format --check .
	$(V)/bin/lint-imports
	$(V)/bin/python -m tools.links
	PATH="$$(echo "$$PWD"/$(V)/lib/python3*/site-packages/playwright/driver):$$PATH" \
		$(V)/bin/pyright --pythonpath $(V)/bin/python

dry: $(V)/.ok
	$(V)/bin/python -m recipes.papers --dry

bench: $(V)/.ok
	$(V)/bin/python -m benchmarks

docs: $(V)/.docs  # into site/
	NO_MKDOCS_2_WARNING=1 $(V)/bin/python -m mkdocs build

image: $(V)/.ok  # the steps of the Dockerfile, without Docker
	$(V)/bin/python -m tools.dockerfile

mutants: $(V)/.ok
	$(V)/bin/python -m tools.mutants

SECONDS ?= 600
fuzz: $(V)/.ok
	$(V)/bin/python -m tools.fuzz --seconds $(SECONDS)

storm: $(V)/.ok
	$(V)/bin/python -m tools.storm --seconds $(SECONDS)

# A pip before 25.3 takes twice as long to find a release of each package. What is not compiled beforehand is compiled
# when it is first imported; most of it never is. Node, which pyright runs on, comes with playwright.
INSTALL = $(V)/bin/python -m pip install -q --no-compile

$(V)/.pip:
	$(PY) -m venv $(V)
	$(INSTALL) -U 'pip>=25.3'
	touch $@

$(V)/.ok: pyproject.toml constraints.txt | $(V)/.pip
	$(INSTALL) -c constraints.txt -e '.[dev]'
	touch $@

$(V)/.docs: $(V)/.ok
	$(INSTALL) -c constraints.txt -e '.[docs]'
	touch $@

# What not every machine can have, installed meanwhile: Qt's Chromium, where the system may have none, and the dense CRF,
# which has no wheels and needs a compiler. Neither installs a file that .ok installs, so the two may run at once.
$(V)/.optional: constraints.txt | $(V)/.pip
	-[ "$$(uname)" != Linux ] || $(INSTALL) -c constraints.txt 'pyside6-webengine>=6.12'
	-$(INSTALL) --no-deps -c constraints.txt 'pydensecrf2>=1.1,<2'
	touch $@

clean:
	rm -rf $(V) owseg-demo site
