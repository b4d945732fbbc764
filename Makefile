# picklet's commands. On a machine with git, Rust and Python 3.11 or newer,
# `make demo` and `make test` set up everything that they need.
#
#   make build         the Python environment in .venv/ (with picklet), target/release/picklet
#   make demo          split, map, save and load a real table of flights
#   make test          every test and lint, Rust and Python, on every Python found
#   make docs          the documentation in target/site/, the Rust reference included
#   make deny          licences, sources and banned crates of all that picklet is built from
#   make wheels        dist/*.whl for every Python found, each installed and tried alone
#   make sanitize      mutated pickles under AddressSanitizer and the debug allocator
#   make corpora       every real pickle of some packages, fetched from the network, is read
#   make bench         picklet beside its peers, as ratios, into docs/benchmarks.md
#   make fuzz          every fuzz target, FUZZ_SECONDS each, FUZZ_JOBS of them at a time
#   make test-torch    what torch saves here is scanned, and compared byte by byte with the tests' files
#   make test-engines  one contract of map on Dask, Ray and Spark; the stores on S3
#   make clean         remove what the others made

PYTHON ?= python3
VENV := .venv
ENGINES := .venv-engines
SCANNERS := .venv-scanners
TORCH := .venv-torch
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install
# Processes of Python's tests at a time.
TEST_JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
FUZZ_JOBS ?= $(shell nproc)
FUZZ_TARGETS ?= read write dis optimize value serde scan split merge
# The fuzzer's random numbers: 0 for others each time.
FUZZ_SEED ?= 0

# pyo3's build script and the tests that ask CPython use the same interpreter.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PICKLET_PYTHON := $(CURDIR)/$(BIN)/python

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
PYTHON_SOURCES := $(shell find crates/picklet-python/python -name '*.py' -o -name '*.pyi') pyproject.toml

.PHONY: build demo test test-rust test-python test-interpreters lint docs deny wheels sanitize corpora \
  bench fuzz test-torch test-engines clean

build: $(VENV)/installed target/release/picklet

# The interpreter's version is asked first: an old one fails much later, and less clearly.
$(VENV)/build-tools: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "picklet needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one:  make PYTHON=/path/to/python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { \
	  echo "python -m venv failed; on Debian and Ubuntu:  apt install python3-venv"; exit 1; }
	$(PIP) --upgrade pip
	$(PIP) --group build
	@touch $@

# Only the tests need these, so the demo does not wait for them.
$(VENV)/test-tools: $(VENV)/build-tools
	$(PIP) --group test
	@touch $@

$(VENV)/installed: $(VENV)/build-tools $(RUST_SOURCES) $(PYTHON_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet
	@touch $@

target/release/picklet: $(RUST_SOURCES)
	cargo build --release --quiet --package picklet-cli

demo: build
	$(BIN)/python examples/flights/demo.py

test: lint test-rust test-python test-interpreters

lint: $(VENV)/test-tools
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test-rust: $(VENV)/installed
	cargo fetch --quiet --locked --manifest-path testdata/sarif/Cargo.toml
	cargo test --quiet
	cargo test --quiet --manifest-path fuzz/Cargo.toml --target-dir target --no-default-features --lib

test-python: build $(VENV)/test-tools
	$(BIN)/python -m mypy.stubtest picklet --ignore-disjoint-bases \
	  --mypy-config-file pyproject.toml --allowlist crates/picklet-python/stubtest.allow
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

# CPython's own pickle tests on each other interpreter found, and once on the portable path.
test-interpreters: $(VENV)/build-tools
	$(BIN)/python crates/picklet-python/packaging/suite.py

$(VENV)/docs-tools: $(VENV)/build-tools
	$(PIP) --group docs
	@touch $@

docs: build $(VENV)/docs-tools
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps \
	  -p picklet-codec -p picklet-segments -p picklet-tiles -p picklet -p picklet-cli
	@rm -rf target/site/rust && cp -r target/doc target/site/rust
	@echo "target/site/index.html"

# What deny.toml allows. The advisories need a database that is fetched from elsewhere; RELEASE.md
# asks for them. Unoptimised, because building cargo-deny takes longer than what it does.
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --debug
	cargo deny --offline --log-level error check bans licenses sources

# A wheel for each interpreter of the machine, installed where nothing else is, and tried there.
wheels: $(VENV)/build-tools
	rm -rf dist
	$(BIN)/python crates/picklet-python/packaging/wheels.py build
	$(BIN)/python crates/picklet-python/packaging/wheels.py try

# A million cases each; hours on a small machine. SANITIZE_CASES says how many.
SANITIZE_CASES ?= 1000000
sanitize: build $(VENV)/test-tools
	$(BIN)/python crates/picklet-python/packaging/sanitize.py $(SANITIZE_CASES)

# Needs the network: a package that cannot be fetched is named, and the command fails.
# With the interpreter's own pip: pip 25.3 and 26.3 do not find the old wheels that are read; 23.2 does.
corpora: $(VENV)/build-tools
	$(PYTHON) testdata/corpora.py target/corpora
	cargo test --quiet --package picklet --test corpora -- --ignored

# patchify asks for numpy 1, and runs with 2.
$(VENV)/bench-tools: $(VENV)/build-tools
	$(PIP) --group bench
	$(PIP) --no-deps patchify==0.2.3
	@touch $@

# The scanners that `picklet scan` is measured beside: an environment of its own, since they bring
# other versions of what the tests use.
$(SCANNERS)/installed: pyproject.toml
	$(PYTHON) -m venv $(SCANNERS)
	$(SCANNERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(SCANNERS)/bin/python -m pip install --quiet --disable-pip-version-check --group scanners
	@touch $@

# An hour or so. Ten times as many records, as map_cost.py takes by itself, are an hour alone.
# Each benchmark records its tables in target/bench/; the page and its plots are made of them.
bench: build $(VENV)/test-tools $(VENV)/bench-tools $(SCANNERS)/installed
	rm -rf target/bench
	$(BIN)/python crates/picklet-bench/python/main_job.py
	cargo build --release --quiet --package picklet-bench --bin copy_with_digest
	$(BIN)/python crates/picklet-bench/python/split_speed.py
	$(BIN)/python crates/picklet-bench/python/codec.py
	$(BIN)/python crates/picklet-bench/python/codec.py --memory
	$(BIN)/python crates/picklet-bench/python/map_cost.py --records 300000
	$(BIN)/python crates/picklet-bench/python/tiles.py
	$(BIN)/python crates/picklet-bench/python/scan.py --peers $(SCANNERS)/bin/python
	$(BIN)/python crates/picklet-bench/python/rust_peers.py
	$(BIN)/python crates/picklet-bench/python/evidence.py

# Each target starts from the seeds in the tree; what it finds worth keeping goes to fuzz/corpus.
# The sanitizer is one of rustc's unstable options, which the stable compiler has as well and takes
# when it is told that this is meant: so no second compiler has to be there.
fuzz: export RUSTC_BOOTSTRAP := 1
fuzz:
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked --debug
	for target in $(FUZZ_TARGETS); do cargo fuzz build $$target || exit 1; done
	@mkdir -p target/fuzz-logs
	@printf '%s\n' $(FUZZ_TARGETS) | xargs -P $(FUZZ_JOBS) -I TARGET sh -c ' \
	  mkdir -p fuzz/corpus/TARGET; \
	  if cargo fuzz run TARGET fuzz/corpus/TARGET fuzz/seeds/read -- \
	      -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED) -dict=fuzz/opcodes.dict -rss_limit_mb=2048 \
	      > target/fuzz-logs/TARGET.log 2>&1; \
	  then echo "TARGET: $$(tail -n 1 target/fuzz-logs/TARGET.log)"; \
	  else tail -n 60 target/fuzz-logs/TARGET.log; echo "TARGET: found something"; exit 255; fi'

# Several gigabytes, most of it for processors that no test has.
$(TORCH)/installed: pyproject.toml
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --group torch
	@touch $@

test-torch: $(TORCH)/installed target/release/picklet
	$(TORCH)/bin/python testdata/torch/layout.py target/torch --torch
	$(TORCH)/bin/python testdata/torch/saved.py target/torch/saved target/release/picklet

# An environment of its own, because the engines bring a gigabyte of their own. Nothing is skipped:
# what is missing is an error.
$(ENGINES)/installed: $(RUST_SOURCES) $(PYTHON_SOURCES)
	@java -version >/dev/null 2>&1 || { \
	  echo "Spark needs Java; on Debian and Ubuntu:  apt install default-jre-headless"; exit 1; }
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --group test --group engines
	VIRTUAL_ENV=$(CURDIR)/$(ENGINES) $(ENGINES)/bin/maturin develop --release --quiet
	@touch $@

test-engines: $(ENGINES)/installed
	$(ENGINES)/bin/python -m pytest crates/picklet-python/engines
	PICKLET_REQUIRE_S3=1 PICKLET_PYTHON=$(CURDIR)/$(ENGINES)/bin/python \
	  cargo test --quiet --package picklet-segments --features object-store --test s3
	PICKLET_REQUIRE_S3=1 $(ENGINES)/bin/python -m pytest crates/picklet-python/tests/test_urls.py

clean:
	rm -rf target $(VENV) $(ENGINES) $(SCANNERS) $(TORCH) build dist demo-out
