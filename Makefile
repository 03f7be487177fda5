# make demo: the whole way once. make check: lint, format, types. make test: all tests. make docs: the pages. make
# gpu-check: what a GPU should be asked first. All work in .venv, which they create.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CORE := $(wildcard csrc/*.* csrc/*/*.*)
CORE_TESTS := build/core-tests
GPU_CHECK ?= build/gpu-check.json

.PHONY: help demo check test docs gpu-check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    create $(VENV), build and install, then run the default search"
	@echo "make check   the same environment with ruff and mypy, then lint, format and types"
	@echo "make test    the same environment with the test extras, then all tests"
	@echo "make docs    the pages in build/docs, offline; a warning is an error"
	@echo "make gpu-check   builds, tests, sanitizes and measures on a GPU; says what is missing, writes $(GPU_CHECK)"
	@echo "make clean   remove $(VENV) and everything built; runs/ stays"
	@echo "Variables:   PYTHON=python3.12 chooses the interpreter (3.10 or later)"
	@echo "             MODNAS_FAST_BUILD=none leaves the compiled core out"
	@echo "             MODNAS_FAST_CUDA=auto|on|off builds the CUDA sources when nvcc is found, always, never"
	@echo "             CUDAARCHS='80-real;90' builds them for these generations of GPUs alone"

demo: $(VENV)/installed
	$(BIN)/modnas-fast search

check: $(VENV)/installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One process per core, each with one thread: the tests' tensors are tiny, and threads waiting for each other on a busy
# machine take minutes.
test: $(VENV)/installed-tests
	$(BIN)/cmake -S . -B $(CORE_TESTS) -DMODNAS_FAST_PYTHON=OFF -DMODNAS_FAST_CUDA=off -DMODNAS_FAST_TESTS=ON \
	  -DMODNAS_FAST_SANITIZE=ON
	$(BIN)/cmake --build $(CORE_TESTS) --parallel $(shell getconf _NPROCESSORS_ONLN)
	$(BIN)/ctest --test-dir $(CORE_TESTS) --output-on-failure
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --durations=40

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/docs-cache docs build/docs
	@echo "build/docs/index.html"

# docs/gpu.md tells what it does; it runs on a machine without a GPU too.
gpu-check: $(VENV)/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m modnas_fast.bench.gpu_check --json $(GPU_CHECK)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or later is needed: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml setup.py CMakeLists.txt constraints.txt $(CORE)
	$(PIP) install -c constraints.txt --editable ".[search]"
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(PIP) install -c constraints.txt "modnas-fast[test]"
	@touch $@

$(VENV)/installed-check: $(VENV)/installed-tests
	$(PIP) install -c constraints.txt "modnas-fast[check]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) install -c constraints.txt "modnas-fast[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks *.egg-info
	rm -f modnas_fast/_C.*.so
	find . -name __pycache__ -type d -not -path "./.git/*" -prune -exec rm -rf {} +
