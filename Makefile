export OMP_WAIT_POLICY ?= PASSIVE
PY ?= python3
V := .venv

.PHONY: demo test check bench clean
demo: $(V)/.ok
	$(V)/bin/owseg demo

test: $(V)/.ok
	$(V)/bin/python -m pytest

check: $(V)/.ok
	$(V)/bin/ruff check . && $(V)/bin/ruff format --check . && $(V)/bin/mypy

bench: $(V)/.ok
	$(V)/bin/python -m benchmarks

$(V)/.ok: pyproject.toml constraints.txt
	$(PY) -m venv $(V)
	$(V)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(V) owseg-demo
