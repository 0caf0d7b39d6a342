# The two commands people start with are `make demo` and `make test`; each does whatever is still missing first.
#   VENV=.venv  BUILD=build  JOBS=<cores>  PYTHON=python3.11  CXX=g++  TORCH_ARGS=...  PYTEST_ARGS=...
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BUILD ?= build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
# Set-up is repeated when the lock, the set-up itself or the place of the checkout changes.
KEY := $(shell (cat requirements.lock .ci/setup; pwd) | sha256sum | cut -c1-12)
ENVIRONMENT := $(VENV)/.rigi-environment-$(KEY)
INSTALLED := $(VENV)/.rigi-installed-$(KEY)
KERNELS := tvm_target/modules/.built
KERNEL_SOURCES := $(shell find tvm_target sdk_sim/include sdk_sim/chips -type f \( -name '*.py' -o -name '*.h' -o -name '*.toml' \) 2>/dev/null)
# Build steps import torch while its extension is not there yet.
BUILD_ENV := PATH="$(abspath $(BIN)):$$PATH" TORCH_DEVICE_BACKEND_AUTOLOAD=0
# SWIG's types complain after pytest's closing line, which has to stay the last one.
PYTEST := $(PY) -W "ignore:builtin type:DeprecationWarning" -m pytest

.PHONY: help demo test quick kits setup native build lint format tidy sanitize clean clean-venv
help:  ## this list
	@echo "Rigi: an AI chip's software stack, on an emulated chip. Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build  ## serve SmolLM2-135M through SGLang on the chip, a few prompts in one batch
	@$(BIN)/rigi demo

test: build lint  ## lint, then all tests
	@$(PYTEST) --timeout=900 $(PYTEST_ARGS)

quick: build  ## the tests that are not marked slow
	@$(PYTEST) --timeout=300 -m "not slow" $(PYTEST_ARGS)

kits: build  ## SGLang's own test kits against a server on the chip (minutes)
	@$(PY) -W ignore -m benchmarks.sglang_kits

setup: $(INSTALLED)  ## .venv from requirements.lock, and this checkout in it

$(ENVIRONMENT): requirements.lock .ci/setup
	@.ci/setup "$(VENV)"
	@rm -f $(VENV)/.rigi-environment-* $(VENV)/.rigi-installed-*
	@touch $@

# Entry points and the path only; the native parts are built in place, below.
$(INSTALLED): $(ENVIRONMENT) pyproject.toml
	@echo "[setup] installing this checkout (editable)"
	@$(BUILD_ENV) $(PY) -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BUILD)/build.ninja: $(ENVIRONMENT) | $(INSTALLED)
	@cxx=$$(.ci/compiler); echo "[build] configuring with $$cxx"; \
	  $(BUILD_ENV) cmake --fresh -S . -B "$(BUILD)" -G Ninja -DCMAKE_CXX_COMPILER="$$cxx" -DPython_EXECUTABLE="$(abspath $(PY))" --log-level=WARNING
	@touch $@

native: $(BUILD)/build.ninja  ## the native parts, in place (incremental)
	@.ci/compiler > /dev/null
	@$(BUILD_ENV) cmake --build "$(BUILD)" --parallel $(JOBS)

build: native $(KERNELS)  ## the native parts and the packaged kernels

$(KERNELS): $(KERNEL_SOURCES) $(INSTALLED) | native
	@echo "[build] compiling the chip's kernels"
	@$(BUILD_ENV) $(BIN)/rigi build
	@touch $@

lint: $(ENVIRONMENT)  ## ruff, clang-format and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@git ls-files '*.cpp' '*.hpp' '*.h' '*.c' | xargs -r $(BIN)/clang-format --dry-run -Werror
	@$(BIN)/mypy

format: $(ENVIRONMENT)  ## rewrite what ruff and clang-format would
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	@git ls-files '*.cpp' '*.hpp' '*.h' '*.c' | xargs -r $(BIN)/clang-format -i

tidy: native  ## clang-tidy over our C++ (minutes)
	@git ls-files 'sdk_sim/*.cpp' 'tvm_target/*.cpp' 'sglang_ext/*.cpp' | xargs -r -n 1 -P $(JOBS) $(BIN)/clang-tidy --quiet -p "$(BUILD)"
	@git ls-files 'benchmarks/*.cpp' 'tests/*.cpp' | xargs -r -I{} -n 1 -P $(JOBS) $(BIN)/clang-tidy --quiet {} -- -std=c++20 -Isdk_sim/include

sanitize: $(INSTALLED)  ## the SDK's tests and fuzzer under ASan, UBSan and TSan (ten minutes)
	@$(BUILD_ENV) JOBS=$(JOBS) .ci/sanitize "$(BUILD)/sanitize" "$(abspath $(PY))"

clean:  ## remove what was built, keep .venv
	rm -rf "$(BUILD)" sdk_sim/lib sdk_sim/_rigi*.so tvm_target/runtime/*.so tvm_target/modules sglang_ext/_C*.so
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

clean-venv:  ## remove .venv
	rm -rf "$(VENV)"
