# Two commands: `make demo` and `make test`. Needs Python 3.11 or newer, make and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
USE_EXTRAS := slides,text,radiology,omics
TEST_EXTRAS := $(USE_EXTRAS),wsidicom,dev

.PHONY: demo test lint clean

demo: $(VENV)/.installed-use
	$(BIN)/oncoweave demo $(OUT)

test: $(VENV)/.installed-test lint
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed-use: pyproject.toml constraints.txt install.sh
	PYTHON=$(PYTHON) ./install.sh $(VENV) $(USE_EXTRAS)
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt install.sh
	PYTHON=$(PYTHON) ./install.sh $(VENV) $(TEST_EXTRAS)
	touch $@ $(VENV)/.installed-use

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
