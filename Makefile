# `make help` lists the targets. Everything they make lies in this folder: .venv, build, dist, demo.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find cmah kernels cli -name '*.py' -o -name '*.html') cmah/py.typed setup.py pyproject.toml MANIFEST.in README.md LICENSE

SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile # a process takes up to 2 GB

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-lowest check types docs dist format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: .venv/.installed ## install into .venv, then the whole way on shapes made on the spot; report in demo/
	$(BIN)/cmah demo --out demo

test: .venv/.dev ## install what it needs into .venv, then the tests with coverage; ARGS="-k search" runs some, without it
	$(BIN)/pytest $(or $(ARGS),$(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered)

test-fast: .venv/.dev ## the quick tests, on all cores: less than a minute on two idle ones
	$(BIN)/pytest -q $(SIDE_BY_SIDE) -m "not slow" --ignore tests/models/pretrained --ignore tests/experiments

test-lowest: build/lowest/.installed ## the tests of the light half with the lowest versions of its packages that are allowed
	$(LOWEST)/pytest -q --disable-warnings $(LIGHT_TESTS)

check: .venv/.dev types docs ## formatting, lint, types of the installed wheel and of experiments/, direction of imports, the tree of the docs, the site
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pytest -q tests/test_imports.py tests/test_architecture.py

types: build/.installed ## mypy over the installed wheel and experiments/
	cd build && ../$(BIN)/mypy --config-file ../pyproject.toml --python-executable wheel/bin/python -p cmah
	cd build && ../$(BIN)/mypy --config-file ../pyproject.toml --python-executable wheel/bin/python ../experiments/*.py

docs: .venv/.dev ## the documentation as a site in site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/ is built; to read it: python3 -m http.server -d site, then http://localhost:8000"

dist: build/.smoked ## sdist and wheel in dist/, tried out from another folder

format: .venv/.dev ## format the code and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove everything that these targets made
	rm -rf .venv build dist demo site *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that is broken (a start that was interrupted, a Python that has gone) is made anew.
define make_venv
@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(0 if sys.version_info >= (3, 11) else \
	"cmah needs Python 3.11 or later and this is " + v + "; name another: make PYTHON=python3.11 ...")'
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
$(BIN)/python -m pip install --quiet --upgrade pip
endef

.venv/.installed: setup.py pyproject.toml
	$(make_venv)
	$(BIN)/python -m pip install --editable ".[all]"
	@touch $@

.venv/.dev: setup.py pyproject.toml
	$(make_venv)
	$(BIN)/python -m pip install --editable ".[all,dev]"
	@touch .venv/.installed $@

# The wheel is built from the sdist, so both are seen to be complete.
dist/.built: $(SOURCES) | .venv/.dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	@touch $@

# build/wheel: the wheel, borrowing the packages it needs from .venv (but not .venv's own, editable cmah).
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
build/.installed: dist/.built
	$(BIN)/python -m venv --clear build/wheel
	$(BIN)/python $(PURELIB) > "$$(build/wheel/bin/python $(PURELIB))/borrowed.pth"
	build/wheel/bin/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	@touch $@

# build/light: the wheel and its base install alone, without torch.
build/.smoked: build/.installed .ci/smoke.py
	$(BIN)/python -m venv --clear build/light
	build/light/bin/python -m pip install --quiet dist/*.whl
	$(BIN)/python .ci/smoke.py dist build/wheel build/light
	@touch $@

# build/lowest: the base install and the extras `report` and `chat`, each package in the lowest version that setup.py allows.
LOWEST := build/lowest/bin
LIGHT_TESTS := $(addprefix tests/,codes search kernels evaluation report landmarks bench)
PINS := -c 'from importlib.metadata import requires; from packaging.requirements import Requirement as R; \
	print(*(str(r).split(";")[0].replace(">=", "==") for r in map(R, requires("cmah")) \
	if not r.marker or any(r.marker.evaluate({"extra": e}) for e in ("report", "chat"))), sep="\n")'
build/lowest/.installed: setup.py pyproject.toml .venv/.dev
	$(BIN)/python -m venv --clear build/lowest
	$(BIN)/python $(PINS) > build/lowest/pins.txt
	$(LOWEST)/pip install --quiet --editable . --requirement build/lowest/pins.txt "pytest>=8" "hypothesis>=6.100"
	@touch $@
