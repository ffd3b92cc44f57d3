# Bare `make` builds. Every target sets up what it needs; see CONTRIBUTING.md.

GO ?= go
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Everything links libtokenizers.a, which `make setup` puts into .cache.
export CGO_LDFLAGS := "-L$(CURDIR)/.cache"

# The pure Go backend is about three times faster with simd, which amd64 has.
ifeq ($(shell $(GO) env GOARCH 2>/dev/null),amd64)
export GOEXPERIMENT := simd
endif

# Binaries find the plugins beside themselves; test binaries live elsewhere.
PLUGIN := $(CURDIR)/lib/longform/pjrt_cpu.so
PLUGIN_CUDA = $(firstword $(wildcard $(foreach set,cuda target,$(CURDIR)/lib/longform/$(set)/jax_plugins/*/xla_cuda_plugin.so)))
WITH_PLUGIN = if [ -z "$$LONGFORM_PJRT_CPU" ] && [ -f "$(PLUGIN)" ]; then export LONGFORM_PJRT_CPU="$(PLUGIN)"; fi; \
	if [ -z "$$LONGFORM_PJRT_CUDA" ] && [ -f "$(PLUGIN_CUDA)" ]; then export LONGFORM_PJRT_CUDA="$(PLUGIN_CUDA)"; fi;

# Packages quick enough under the race detector.
RACE := ./configs ./data ./internal/checkpoint ./internal/rundir ./internal/safetensors ./internal/serving ./internal/tracking

.PHONY: build setup setup-cuda setup-target setup-metrics demo test recipes race vet lint fmt clean

build: setup
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

setup:
	@scripts/setup.sh

# XLA for an NVIDIA GPU, without the driver; and the part of it that compiles for a GPU that isn't here.
setup-cuda:
	@scripts/setup-cuda.sh

setup-target:
	@scripts/setup-cuda.sh target

# WordNet and a model of where sentences end, for METEOR.
setup-metrics:
	@scripts/setup-metrics.sh

# Trains a small model from scratch, then lets it write.
demo: build
	rm -rf runs/demo
	bin/train run -c configs/demo.yaml
	bin/infer generate --model runs/demo --prompts data/demo/prompts.jsonl --greedy --max-new-tokens 100

test: setup
	@$(GO) build -o .cache/testcount ./scripts/testcount
	@$(WITH_PLUGIN) .cache/testcount ./...

# Compiles recipes' steps for an H100: memory, aliasing, fused attention, chunked loss. A minute or more each.
RECIPES ?= .
recipes: setup setup-target
	@$(WITH_PLUGIN) $(GO) test -count=1 -timeout 40m ./internal/training -run 'TestRecipesOnH100/$(RECIPES)' -recipes -v

race: setup
	@$(GO) build -o .cache/testcount ./scripts/testcount
	@$(WITH_PLUGIN) .cache/testcount -race $(RACE)
	@# The Go backend's AVX-512 products convert pointers in a way that the detector's other check stops at.
	@$(WITH_PLUGIN) .cache/testcount -race -gcflags=all=-d=checkptr=0 ./internal/batching

vet: setup
	$(GO) vet ./...

lint: setup
	$(GO) run $(GOLANGCI) run

fmt:
	gofmt -w cmd configs data internal models scripts

# Leaves the per-user cache, so the next build is quick.
clean:
	rm -rf bin lib .cache
