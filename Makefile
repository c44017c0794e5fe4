export OMP_WAIT_POLICY ?= PASSIVE
unexport PYTHONDONTWRITEBYTECODE  # many tests are processes that import torch: compiled once, not each time
PY ?= python3
V := .venv

.PHONY: demo test check bench mutants clean
demo: $(V)/.ok
	$(V)/bin/owseg demo

test: $(V)/.ok
	$(V)/bin/python -m pytest

check: $(V)/.ok
	$(V)/bin/ruff check .
	$(V)/bin/ruff format --check .
	$(V)/bin/lint-imports
	$(V)/bin/python -m tools.links
	$(V)/bin/mypy
	PATH="$$(echo "$$PWD"/$(V)/lib/python3*/site-packages/playwright/driver):$$PATH" \
		$(V)/bin/pyright --pythonpath $(V)/bin/python

bench: $(V)/.ok
	$(V)/bin/python -m benchmarks

mutants: $(V)/.ok
	$(V)/bin/python -m tools.mutants

# A pip before 25.3 takes twice as long to find a release of each package. What is not compiled beforehand is compiled
# when it is first imported; most of it never is. Node, which pyright runs on, comes with playwright.
# pydensecrf2 has no wheels: where there is no compiler, the tests of the dense CRF are skipped.
$(V)/.ok: pyproject.toml constraints.txt
	$(PY) -m venv $(V)
	$(V)/bin/python -m pip install -q --no-compile -U 'pip>=25.3'
	$(V)/bin/python -m pip install -q --no-compile -c constraints.txt -e '.[dev]'
	-$(V)/bin/python -m pip install -q --no-compile -c constraints.txt 'pydensecrf2>=1.1,<2'
	touch $@

clean:
	rm -rf $(V) owseg-demo
