# gpumedic: build, check, try out. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
# The version is part of every report; a clone without tags says its commit.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X gpumedic/config.Version=$(VERSION)
# go-nvml and SQLite's bindings are plain C; the compiler's remarks on them help nobody.
export CGO_CFLAGS := -g -O2 -Wno-deprecated-declarations

# The control plane's version is built in, else clients cannot parse it.
KUBERNETES := v1.37.2
KUBE_VERSION := k8s.io/component-base/version
KUBE_LDFLAGS := -s -w -X $(KUBE_VERSION).gitVersion=$(KUBERNETES) -X $(KUBE_VERSION).gitMajor=1 -X $(KUBE_VERSION).gitMinor=37
export GPUMEDIC_CONTROLPLANE := $(BIN)/gpumedic-controlplane

SCENARIO ?= nccl-policy
APPROVE ?=
OUT ?= out/demo

.PHONY: help
help: ## lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## builds gpumedic and gpumedic-worker into bin/
	@mkdir -p $(BIN)
	go build -ldflags "$(LDFLAGS)" -o $(BIN)/gpumedic ./starter
	go build -ldflags "$(LDFLAGS)" -o $(BIN)/gpumedic-worker ./worker

.PHONY: lab
lab: build controlplane ## builds the lab as well (the first time takes minutes: a whole Kubernetes control plane)
	cd lab && go build -ldflags "$(LDFLAGS)" -o $(BIN)/gpumedic-lab ./cmd/gpumedic-lab

.PHONY: controlplane
controlplane: $(BIN)/gpumedic-controlplane ## builds etcd and Kubernetes $(KUBERNETES) for the lab

$(BIN)/gpumedic-controlplane: lab/controlplane/main.go lab/controlplane/go.mod
	@mkdir -p $(BIN)
	@echo "building Kubernetes $(KUBERNETES) and etcd for the lab; this takes about 5 minutes once"
	cd lab/controlplane && go build -trimpath -ldflags "$(KUBE_LDFLAGS)" -o $@ .

.PHONY: demo
demo: lab ## plays one incident from alert to report (SCENARIO=list, APPROVE=ask|auto|deny, OUT=out/demo)
	@$(BIN)/gpumedic-lab demo --scenario "$(SCENARIO)" --approve "$(APPROVE)" --out "$(OUT)" --bin "$(BIN)"

.PHONY: up
up: lab ## leaves the lab running, prints a kubeconfig and the addresses (SCENARIO=NAME plays it as well)
	@$(BIN)/gpumedic-lab up --bin "$(BIN)" $(if $(filter-out file,$(origin SCENARIO)),--scenario "$(SCENARIO)")

.PHONY: test
test: lab ## everything that CI runs, but lint: units, replay, real API server, every scenario end to end
	go test ./...
	cd lab && go test -timeout 30m ./...

# A file of labelled texts, JSONL; the project's own ones when nothing else is given.
CORPUS ?= runbooks/testdata/corpus.jsonl
EVAL ?= -wrong

.PHONY: eval
eval: ## measures the diagnosis of text on labelled failures (CORPUS=FILE.jsonl, EVAL='-wrong -only cuda-oom')
	@go run ./runbooks/eval $(EVAL) $(CORPUS)

# The whole table takes a quarter of an hour on two cores.
EVAL_LOCALIZE ?= -seeds 4

.PHONY: eval-localize
eval-localize: ## measures who-is-bad verdicts in simulated sites (EVAL_LOCALIZE='-sizes 232 -beside -wrong -prior right')
	@go run ./localize/eval $(EVAL_LOCALIZE)

.PHONY: bench
bench: ## measures the speed of the diagnosis, also against grep and rg where they are installed, of checks and of planning
	go test ./diagnosis -run '^$$' -bench . -benchmem
	go test ./activities/cluster ./activities/metrics -run '^$$' -bench Thousand -benchtime 3x
	go test ./localize/simulate -run '^$$' -bench . -benchmem -benchtime 5x

# A minute each; what they find is kept in testdata/fuzz and tried by every make test from then on.
FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: ## looks for texts and files that break the classifier, the grammar, the prefixes and the loader
	go test ./diagnosis -run '^$$' -fuzz '^FuzzScan$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s
	go test ./diagnosis -run '^$$' -fuzz '^FuzzVerdict$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s
	go test ./diagnosis -run '^$$' -fuzz '^FuzzParseUnschedulable$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s
	go test ./diagnosis -run '^$$' -fuzz '^FuzzUnwrap$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s
	go test ./runbooks -run '^$$' -fuzz '^FuzzDecodeSignatures$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1s

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/workflowcheck ## formats, vets, lints, checks workflows for determinism
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt -w these files:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	cd lab && go vet ./...
	$(BIN)/golangci-lint run ./...
	cd lab && $(BIN)/golangci-lint run --config ../.golangci.yml ./...
	$(BIN)/workflowcheck -config workflowcheck.yaml ./workflows/...

$(BIN)/golangci-lint $(BIN)/workflowcheck: tools/go.mod
	@mkdir -p $(BIN)
	cd tools && go build -o $(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint go.temporal.io/sdk/contrib/tools/workflowcheck

.PHONY: tidy
tidy: ## tidies the three Go modules
	go mod tidy
	cd lab && go mod tidy
	cd lab/controlplane && go mod tidy

.PHONY: clean
clean: ## removes what was built and played
	rm -rf bin out
