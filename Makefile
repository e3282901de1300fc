# make help lists what there is. Building and running need Go alone; testing
# brings what it needs (e2e/testenv).

GO          ?= go
CONFIG      ?= config.example.yaml
BIN         := bin/countersign
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TESTENV     := $(GO) run ./e2e/testenv --
# The race detector needs a C compiler.
RACE        := $(shell command -v $$($(GO) env CC) >/dev/null 2>&1 && echo -race)

.PHONY: build run test soak lint bench microbench clean help

build: ## build bin/countersign, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/countersign

run: build ## build, and serve config.example.yaml (or CONFIG=…)
	@if [ "$(CONFIG)" = config.example.yaml ]; then \
		echo; echo 'The demo person of config.example.yaml is admin@example.com, password "password".'; echo; fi
	@$(BIN) serve $(CONFIG)

test: ## run every test, with the race detector where there is a C compiler
	CGO_ENABLED=$(if $(RACE),1,0) $(TESTENV) $(GO) test $(RACE) -timeout 20m ./...

# The doses are too many for each change: run them before a release.
soak: ## the fault tests in full doses, and the races of the stores 10,000 times
	COUNTERSIGN_TEST_LONG=1 $(TESTENV) $(GO) test -count 1 -v -timeout 2h ./e2e/faults
	COUNTERSIGN_TEST_LONG=1 $(TESTENV) $(GO) test -count 1 -parallel 16 -timeout 2h -run 'TestConformance|TestCrash' ./storage/...

lint: ## gofmt, go vet, staticcheck, and who may import whom
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -run 'TestImportDirection|TestProtocolCoreReadsNoClock|TestRulesOfDirection' ./e2e

bench: build ## measure the program beside what the machine can do (BIG=1: 10 million rows)
	$(TESTENV) $(GO) run ./e2e/load $(if $(BIG),-rows 10000000 -expired 10000000)

microbench: ## run the Go benchmarks of the packages, on both storage engines
	$(TESTENV) $(GO) test -run '^$$' -bench . -benchmem ./...

clean: ## delete what the other targets made
	rm -rf bin data e2e/screenshots

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
