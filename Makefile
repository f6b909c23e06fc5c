# SPDX-License-Identifier: Apache-2.0
# The front door. CMake does the work (presets in CMakePresets.json); these targets install what is missing, then call it.
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
PEER_PYTHON ?= build/peers/bin/python
BENCH_ARGS ?=
RELEASE := build/release
FULCRUM := $(RELEASE)/src/cli/fulcrum

# Quiet and quick when there is nothing to do.
configure = cmake --preset $(1) >build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }

.DEFAULT_GOAL := build
.PHONY: build demo test bench bench-data bench-scaling bench-publish bench-study bench-images install asan tsan emulate coverage fuzz format check clean help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

build: ## the library and the program (build/release)
	@tools/setup build
	@mkdir -p build && $(call configure,release)
	@cmake --build $(RELEASE) --target fulcrum fulcrum_shared fulcrum_static

demo: build ## the demo study: does a sparse MoE pay on the built-in data? (4 minutes)
	@$(FULCRUM) study studies/demo.yaml --out runs/demo --jobs auto
	@$(FULCRUM) report runs/demo -o runs/demo/report.html
	@echo "$(CURDIR)/runs/demo/report.html"

test: ## all tests; the last line is "N passed, N failed"
	@tools/setup test
	@mkdir -p build && $(call configure,release)
	@cmake --build $(RELEASE)
	@tools/run_tests $(RELEASE)

asan: ## the quick tests under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
	@tools/setup test
	@mkdir -p build && $(call configure,asan)
	@cmake --build build/asan
	@ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	 LSAN_OPTIONS=suppressions=$(CURDIR)/tools/lsan.supp:print_suppressions=0 tools/run_tests build/asan -L quick

tsan: ## the quick tests of the layers that start threads, under ThreadSanitizer
	@tools/setup test
	@mkdir -p build && $(call configure,tsan)
	@cmake --build build/tsan
	@TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tools/tsan.supp tools/run_tests build/tsan -L quick

emulate: ## the tests of the AVX-512 kernels on a CPU that has only AVX2 (slow: AVX-512 is emulated)
	@tools/setup emulate
	@mkdir -p build && $(call configure,emulate)
	@cmake --build build/emulate
	@tools/run_tests build/emulate -L quick -R 'opcheck|test_(ops|graph|moe|nets)'

coverage: ## which lines the tests reach (build/coverage/index.html)
	@tools/setup coverage
	@mkdir -p build && $(call configure,coverage)
	@cmake --build build/coverage
	@tools/run_tests build/coverage -E test_install
	@gcovr --root . --filter src/ --object-directory build/coverage --html-details build/coverage/index.html --print-summary

fuzz: ## every fuzz target for FUZZ_SECONDS (60) with libFuzzer; new inputs go to build/fuzz/corpus
	@tools/setup fuzz
	@mkdir -p build && cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
	 -DFULCRUM_PARALLEL=pthread -DFULCRUM_BUILD_FUZZ=ON >build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }
	@cmake --build build/fuzz --target fuzzers
	@tools/run_fuzzers build/fuzz $(FUZZ_SECONDS)

bench: build ## speed beside PyTorch and ONNX Runtime, interleaved (some minutes; BENCH_ARGS="--group infer --repeats 2"; PEER_PYTHON)
	@if [ "$(PEER_PYTHON)" = build/peers/bin/python ]; then tools/setup bench && bench/peers/setup; fi
	@cmake --build $(RELEASE) --target peaks bench_layer
	@python3 bench/compare.py $(FULCRUM) $(RELEASE)/bench $(PEER_PYTHON) --out build/bench $(BENCH_ARGS)

bench-data: build ## loading and augmenting images beside PyTorch's DataLoader (1.5 minutes; BENCH_ARGS="--turns 3"; PEER_PYTHON, FULCRUM_DATA)
	@if [ "$(PEER_PYTHON)" = build/peers/bin/python ]; then tools/setup bench && bench/peers/setup; fi
	@cmake --build $(RELEASE) --target bench_data
	@python3 bench/data.py $(FULCRUM) $(RELEASE)/bench/bench_data $(PEER_PYTHON) $(BENCH_ARGS)

bench-scaling: build ## time of a step against batch, width, depth, experts, k, tokens, threads (6 minutes; BENCH_ARGS)
	@tools/setup bench
	@cmake --build $(RELEASE) --target peaks bench_layer
	@python3 bench/scaling.py $(FULCRUM) $(RELEASE)/bench --out build/bench $(BENCH_ARGS)

bench-publish: ## what was measured last into bench/results, doc/performance.md and README.md
	@python3 bench/publish.py build/bench

bench-study: build ## how a study of 1,000 to 10,000 made-up runs grows: time and memory a run (1.5 minutes, 0.5 GB in TMPDIR)
	@python3 bench/many_runs.py $(FULCRUM) --out build/many_runs.json

bench-images: build ## how reading grows with the images of a set, up to ImageNet's 1.28 million (2 minutes, 3 GB in TMPDIR)
	@python3 bench/many_images.py $(FULCRUM) --out build/many_images.json

install: build ## program, libraries, headers, CMake package, fulcrum.pc, man page (PREFIX, DESTDIR)
	@DESTDIR="$(DESTDIR)" cmake --install $(RELEASE) --prefix "$(PREFIX)" >build/install.log || { cat build/install.log; exit 1; }
	@echo "installed in $(DESTDIR)$(PREFIX)"

format: ## put every C file into the project's form
	@tools/check_format --fix

check: ## layers, public headers and format
	@tools/check_layers
	@tools/check_format

clean: ## remove build/
	rm -rf build
