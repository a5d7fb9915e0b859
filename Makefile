# Two commands: `make run` and `make test`. Both install what is missing and build first.
#
#   HIVQ_DEVICE=cpu|cuda   which build; by default cuda where an NVIDIA GPU is seen
#   HIVQ_WERROR=ON         warnings are errors (as in CI)

SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := build
.PHONY: run test build bench setup format clean

HIVQ_WERROR ?= OFF

# Each recipe asks setup.sh for the device, so that it is chosen once and what it needs is there. TARGETS: all by default.
define configure_and_build
device=$$(cmake/setup.sh) || exit 1; \
preset=$$([ $$device = cuda ] && echo cuda || echo release); \
echo "build: $$preset into build/$$preset (the first time takes some minutes)"; \
cmake --preset $$preset -DHIVQ_WERROR=$(HIVQ_WERROR) > build.log 2>&1 || { tail -n 20 build.log; \
  echo "build: CMake could not configure; all of its output is in build.log"; exit 1; }; \
cmake --build --preset $$preset $(if $(TARGETS),--target $(TARGETS)) || { echo "build: failed; the first error stands above"; exit 1; }
endef

setup:
	@cmake/setup.sh > /dev/null

build:
	@$(configure_and_build)

run: TARGETS := hivq hivq-coordinator hivq-worker
run:
	@$(configure_and_build); build/$$preset/bin/hivq run jobs/specs/quick.yaml

test:
	@$(configure_and_build); ctest --preset $$preset

bench: TARGETS := benches
bench:
	@$(configure_and_build); for program in build/$$preset/bin/bench_*; do echo "== $$program"; $$program || exit 1; done

format:
	clang-format -i $$(git ls-files '*.h' '*.cpp')

clean:
	rm -rf build build.log
