PYTHON ?= python3
VENV ?= .venv
PARAMS ?= params/cpu.yaml
# A GPU that answers selects vLLM's CUDA build; say DEVICE=cpu or DEVICE=cuda to choose yourself.
DEVICE ?= $(if $(shell nvidia-smi -L 2>/dev/null),cuda,cpu)

BIN := $(VENV)/bin
LOCK := .requirements/$(DEVICE).txt
STAMP := $(VENV)/.installed-$(DEVICE)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --no-deps

.PHONY: help setup report test submission lab lint lock clean
.DEFAULT_GOAL := help

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(STAMP)  ## Create .venv and install everything, once

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: give another, as in make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) for $(DEVICE) (minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# PyTorch's CPU build is not on PyPI; its index is asked for torch alone.
	@test $(DEVICE) = cuda || $(PIP) "$$(grep -o '^torch==[^ ]*' $(LOCK))" \
		--extra-index-url https://download.pytorch.org/whl/cpu --retries 0
	@$(PIP) -r $(LOCK)
	@$(PIP) -e .
	@rm -f $(VENV)/.installed-* && touch $@

report: setup  ## Run the main job (PARAMS=params/cpu.yaml) and render its report
	@$(BIN)/python -m vllm_loadgen.report --params $(PARAMS)

test: setup  ## Pass the tests
	@$(BIN)/python -m pytest

submission: setup  ## Build MLCommons' tree: RUNS="..." SUBMITTER=... SYSTEM=... [DIVISION= OUT=]
	@$(BIN)/python -m vllm_loadgen.submission $(RUNS) --division $(or $(DIVISION),open) \
		--submitter "$(SUBMITTER)" --system "$(SYSTEM)" --out $(or $(OUT),submission)

lab: setup  ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks

lint: setup  ## Check format and style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock:  ## Resolve pyproject.toml into .requirements again (needs uv; UV_FIND_LINKS may hold torch)
	@for device in cpu cuda; do \
		uv pip compile --quiet --universal --python-version 3.11 --extra $$device --extra test \
			--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml \
			| sed -E "s/ ; platform_machine == 'x86_64' and sys_platform == 'linux'$$//; \
				s/ and platform_machine == 'x86_64' and sys_platform == 'linux'//" > .lock && \
		{ grep '^#' .requirements/$$device.txt; cat .lock; } > .lock2 && \
		mv .lock2 .requirements/$$device.txt && rm .lock || exit 1; \
	done

clean:  ## Remove the environment and caches; outputs stay
	@rm -rf $(VENV) .pytest_cache .ruff_cache src/*.egg-info
