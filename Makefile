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

# uv takes a third of pip's time. It reads none of pip's settings: where wheels lie is handed on. What is not compiled
# beforehand is compiled when it is first imported; most of it never is. Node, which pyright runs on, comes with
# playwright.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
install = $(V)/bin/uv pip install -q --python $(V) $(1) || $(V)/bin/python -m pip install -q --no-compile $(1)

$(V)/.uv:
	$(PY) -m venv $(V)
	$(V)/bin/python -m pip install -q --no-compile uv
	touch $@

$(V)/.ok: pyproject.toml constraints.txt | $(V)/.uv
	$(call install,-c constraints.txt -e '.[dev]')
	touch $@

$(V)/.docs: $(V)/.ok
	$(call install,-c constraints.txt -e '.[docs]')
	touch $@

# What not every machine can have, installed meanwhile: the dense CRF, which has no wheels and needs a compiler (by pip, as
# uv would wait for the other uv), and Qt's Chromium, where the system may have none.
$(V)/.optional: constraints.txt | $(V)/.uv
	-$(V)/bin/python -m pip install -q --no-compile --no-deps -c constraints.txt 'pydensecrf2>=1.1,<2'
	-[ "$$(uname)" != Linux ] || $(call install,-c constraints.txt 'pyside6-webengine>=6.12')
	touch $@

clean:
	rm -rf $(V) owseg-demo site
