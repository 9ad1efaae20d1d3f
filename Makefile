# Everything that one does with the repository. `make demo` and `make test` do all the set-up themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
OUT ?= medlab-demo
PYTEST_ARGS ?=
BENCH_ARGS ?=
TEST_PROCESSES ?= 2
TRUST_RECORD ?= $(CURDIR)/out/trust.jsonl

# Waiting OpenMP threads would otherwise spin and starve the window on a small machine.
export OMP_WAIT_POLICY ?= PASSIVE

# Real samples are no part of the repository: where a folder of them stands beside it, the tests use it.
ifndef MEDLAB_TEST_DATA
ifneq ($(wildcard ../shared/data/.),)
export MEDLAB_TEST_DATA := $(abspath ../shared/data)
endif
endif

# A file's tests share what they set up. Files in their own order: the pages of the documents, few and long, are not left to the end.
BY_FILE := --dist loadfile --no-loadscope-reorder

# Tests marked `window` draw with OpenGL, which Qt's offscreen platform lacks: they need a display, or Xvfb in its stead.
UNDER_DISPLAY := scripts/under_display.sh
# Two of them at once need a display each, for the keyboard is with one window: there is one on a desktop, and one alone.
WINDOW_PROCESSES ?= $(if $(DISPLAY)$(WAYLAND_DISPLAY)$(filter-out Linux,$(shell uname -s)),1,$(TEST_PROCESSES))
# The longest come first, so that neither process waits long for the other.
LONGEST := $(wildcard tests/widgets/test_window*.py)
WINDOWS := --dist loadfile --no-loadscope-reorder --tx "$(WINDOW_PROCESSES)*popen//python=$(UNDER_DISPLAY) $(BIN)/python" \
	$(LONGEST) $(filter-out $(LONGEST),$(wildcard tests/widgets/test_*.py))

# PyQt6 lies beside the packages, not among them: there it would go before PySide6.
PYQT6 := .venv/pyqt6
UNDER_PYQT6 := PYTHONPATH="$(CURDIR)/$(PYQT6)" QT_API=pyqt6 PYTEST_QT_API=pyqt6 $(UNDER_DISPLAY)
CONSTRAINTS ?= -c constraints.txt

.PHONY: help setup system demo test test-all test-pyqt6 test-lowest smoke lint types style bench pictures docs constraints clean

help:
	@echo "make demo [OUT=DIR]   make a project of phantoms and open the window on it (without a display: go round by itself)"
	@echo "make test             the tests, except the slow ones;  make test-all: with them"
	@echo "make smoke            the wheel in an environment of its own;  make test-pyqt6, make test-lowest: other environments"
	@echo "make lint             links, ruff, mypy, import contracts, manifest, wheel against sdist"
	@echo "make bench            the benchmarks, into benchmarks/RESULTS.md;  BENCH_ARGS=\"--only open_slide reopen\" for some"
	@echo "make docs             the documents as a site, in out/site;  make pictures: take their screenshots"
	@echo "make setup            nothing but .venv and the system libraries"

setup: system $(STAMP)

system:
	@scripts/system_libraries.sh

# torch comes first and by plain pip, from which it is found in its smallest build where an index offers one. Modules are
# compiled when they are imported, which few of them are: to compile all would take longer than to install them.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := -m pip install --quiet --no-compile
$(STAMP): pyproject.toml constraints.txt | system
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) --upgrade "pip>=25.1"
	$(BIN)/python $(INSTALL) "torch==2.13.0"
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[all,cluster]" --group test --group lint --group docs
	$(BIN)/python scripts/link_layout.py
	touch $@

demo: setup
	$(BIN)/napari-medlab demo --out "$(OUT)"

# What needs no window runs in several processes with one thread each; 5 is pytest's status for "nothing was selected".
# hypothesis takes the same examples every time, and others every time in `make test-all`, which looks for what is not known yet.
test: setup $(PYQT6)/.installed
	OMP_NUM_THREADS=1 $(UNDER_DISPLAY) $(BIN)/python -m pytest -n $(TEST_PROCESSES) $(BY_FILE) --hypothesis-profile repeatable -m "not slow and not window" $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest $(WINDOWS) -m "window and not slow" $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(UNDER_PYQT6) $(BIN)/python -m pytest tests/widgets/test_menus.py tests/widgets/test_rows_table.py tests/widgets/test_scatter.py $(PYTEST_ARGS) || [ $$? -eq 5 ]

# Promises are told of in a file, from which docs/trust.md gets its tables; worksteal, as their sweeps lie in few files.
test-all: export MEDLAB_TRUST_RECORD := $(TRUST_RECORD)
test-all: setup
	mkdir -p $(dir $(TRUST_RECORD)) && rm -f $(TRUST_RECORD)
	OMP_NUM_THREADS=1 $(UNDER_DISPLAY) $(BIN)/python -m pytest -n $(TEST_PROCESSES) $(BY_FILE) -m "not window and not promise" $(PYTEST_ARGS) || [ $$? -eq 5 ]
	OMP_NUM_THREADS=1 $(UNDER_DISPLAY) $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal -m "promise and not window" $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest $(WINDOWS) -m window $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(BIN)/python scripts/write_trust_table.py $(TRUST_RECORD)

$(PYQT6)/.installed: pyproject.toml | setup
	rm -rf $(PYQT6)
	$(BIN)/python $(INSTALL) --target $(PYQT6) --group pyqt6
	touch $@

test-pyqt6: setup $(PYQT6)/.installed
	$(UNDER_PYQT6) $(BIN)/python -m pytest -m "not slow" tests/widgets $(PYTEST_ARGS)

# Every requirement at the lowest version that pyproject.toml allows; it takes 2.6 GB while it runs.
test-lowest: setup
	rm -rf out/lowest
	$(BIN)/python scripts/lowest_versions.py out/lowest
	OMP_NUM_THREADS=1 $(UNDER_DISPLAY) out/lowest/venv/bin/python -m pytest -n $(TEST_PROCESSES) $(BY_FILE) -p no:cacheprovider -o filterwarnings=default -m "not slow and not window" --ignore tests/architecture --ignore tests/docs $(PYTEST_ARGS)
	cd / && "$(CURDIR)/$(UNDER_DISPLAY)" "$(CURDIR)/out/lowest/venv/bin/python" -P "$(CURDIR)/scripts/smoke_test.py"
	rm -rf out/lowest

# The wheel in an environment of its own, tried from outside the checkout.
smoke: setup
	$(BIN)/python scripts/check_wheels.py --out out/wheel
	$(PYTHON) -m venv --clear out/smoke
	out/smoke/bin/python $(INSTALL) --upgrade "pip>=25.1"
	out/smoke/bin/python $(INSTALL) "torch==2.13.0"
	out/smoke/bin/python $(INSTALL) $(CONSTRAINTS) "$$(echo out/wheel/*.whl)[all]"
	cd / && "$(CURDIR)/$(UNDER_DISPLAY)" "$(CURDIR)/out/smoke/bin/python" -P "$(CURDIR)/scripts/smoke_test.py"
	rm -rf out/smoke

lint: setup
	$(BIN)/python scripts/link_layout.py
	$(MAKE) --no-print-directory --jobs 2 --output-sync=recurse types style

types:
	$(BIN)/mypy

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_medlab/napari.yaml
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/architecture/test_manifest.py tests/architecture/test_sources.py
	$(BIN)/python scripts/check_links.py
	$(BIN)/python scripts/check_wheels.py

bench: setup
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

pictures: setup
	$(BIN)/python scripts/screenshots.py

docs: $(STAMP)
	$(BIN)/python scripts/check_links.py
	$(BIN)/python scripts/write_reference.py
	$(BIN)/python scripts/draw_diagrams.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

constraints: $(STAMP)
	$(BIN)/python scripts/write_constraints.py

clean:
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache napari_medlab.egg-info
