# One command a job, each of which starts from nothing:
#   make demo    build, install into .venv, train on real data
#   make test    the same, and every test
#   make lint    formatters, linters, type checkers
#   make bench   mlgrad beside its peers (BENCH_ARGS=--quick for a short run)
#   make isa     tests with each instruction set of this machine but the best, which make test has used
#   make loom    the thread pool through every order of its threads
#   make memcheck  the code that is unsafe under valgrind
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# The extension is built alike by pip, cargo test and clippy, so that they share one set of compiled dependencies.
export PYO3_BUILD_EXTENSION_MODULE := 1
export PYO3_PYTHON := $(abspath $(BIN)/python)

RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
PY := $(shell find python tests examples -name '*.py' -o -name '*.pyi' -o -name py.typed)
PAGES := $(wildcard *.md docs/*.md)
CHECKED := python tests examples benches

.PHONY: demo test lint bench isa loom memcheck format clean

demo: $(STAMPS)/demo
	$(BIN)/python examples/digits.py

test: $(STAMPS)/rust-tested $(STAMPS)/python-tested
	@echo "all tests passed"

bench: $(STAMPS)/bench
	$(BIN)/python benches/run.py $(BENCH_ARGS)

isa: $(STAMPS)/test
	for isa in $$($(BIN)/python -c 'from mlgrad import _core; print(*_core.available_isas()[:-1])'); do \
		echo "MLGRAD_ISA=$$isa" && export MLGRAD_ISA=$$isa && \
		cargo test --release --locked --quiet -p mlgrad-core --lib exec:: && \
		$(BIN)/python -m pytest -q tests/test_operations.py -k test_value || exit 1; \
	done
	MLGRAD_GENERATE=0 $(BIN)/python -m pytest -q tests/test_operations.py tests/test_programs.py

loom:
	cargo fmt --check --manifest-path rust/loom/Cargo.toml
	cargo test --release --locked --manifest-path rust/loom/Cargo.toml --target-dir target/loom

# valgrind has no AVX-512; what it would find in safe code is left out by name
MEMCHECK := cargo test --release --locked -p mlgrad-core \
	--config 'target."cfg(all())".runner = "valgrind --quiet --error-exitcode=9 --suppressions=$(abspath .ci/valgrind.supp)"'
memcheck: export MLGRAD_ISA := avx2
memcheck: export PROPTEST_CASES := 2
memcheck:
	$(MEMCHECK) --lib exec:: -- --test-threads=1 --skip pool --skip memory_limit
	$(MEMCHECK) --test plan -- --test-threads=1 --skip two_million --skip any_number_of_threads \
		--skip blocks_that_begin_within_a_vector

lint: $(STAMPS)/lint
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest mlgrad._core --mypy-config-file pyproject.toml

format: $(STAMPS)/lint
	cargo fmt --all
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

clean:
	rm -rf $(VENV) target python/mlgrad/_core.*.so

$(STAMPS)/venv:
	$(PYTHON) -c 'import sys; sys.exit("mlgrad needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# pip builds the extension in release mode, inside this tree, and links the package from where it lies.
EXTRAS_demo := demo
EXTRAS_test := demo,test
EXTRAS_lint := demo,test,lint
EXTRAS_bench := bench
$(STAMPS)/demo $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/bench: $(STAMPS)/%: $(STAMPS)/venv pyproject.toml $(RUST)
	$(PIP) install --editable '.[$(EXTRAS_$*)]'
	@touch $@

$(STAMPS)/rust-tested: $(STAMPS)/venv $(RUST)
	cargo test --release --locked --workspace --exclude mlgrad-python
	@touch $@

$(STAMPS)/python-tested: $(STAMPS)/test $(PY) $(PAGES)
	$(BIN)/python -m pytest --doctest-modules python/mlgrad tests
	@touch $@
