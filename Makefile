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

# Binaries find the plugin beside themselves; test binaries live elsewhere.
PLUGIN := $(CURDIR)/lib/longform/pjrt_cpu.so
WITH_PLUGIN = if [ -z "$$LONGFORM_PJRT_CPU" ] && [ -f "$(PLUGIN)" ]; then export LONGFORM_PJRT_CPU="$(PLUGIN)"; fi;

# Packages quick enough under the race detector.
RACE := ./configs ./data ./internal/checkpoint ./internal/rundir ./internal/safetensors

.PHONY: build setup demo test race vet lint fmt clean

build: setup
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

setup:
	@scripts/setup.sh

# Trains a small model from scratch, then lets it write.
demo: build
	rm -rf runs/demo
	bin/train run -c configs/demo.yaml
	bin/infer generate --model runs/demo --prompts data/demo/prompts.jsonl --greedy --max-new-tokens 100

test: setup
	@$(GO) build -o .cache/testcount ./scripts/testcount
	@$(WITH_PLUGIN) .cache/testcount ./...

race: setup
	@$(GO) build -o .cache/testcount ./scripts/testcount
	@$(WITH_PLUGIN) .cache/testcount -race $(RACE)

vet: setup
	$(GO) vet ./...

lint: setup
	$(GO) run $(GOLANGCI) run

fmt:
	gofmt -w cmd configs data internal models scripts

# Leaves the per-user cache, so the next build is quick.
clean:
	rm -rf bin lib .cache
