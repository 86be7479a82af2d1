# Lighthouse on Kubernetes: one command for everything a person or a pipeline does here.
# `make help` lists the targets.

SHELL := /bin/sh
PYTHON := ci/python
NODES ?= 1
ROUNDS ?= 3
PROJECT ?= .
NAMESPACE ?= lighthouse
VALUES ?=
SET ?=
PART ?=
EVIDENCE ?=
PICTURES ?=
DATABASE ?=
OSV_URL ?=
ONLY ?=
REPORTS ?= build/scan
RELEASE ?= build/release
SIGN_KEYRING ?=
SIGN_KEY ?=
SIGN_PASSPHRASE_FILE ?=
UNSIGNED ?=
OPERATORS ?=
MIRROR ?=
export EVIDENCE CLUSTER NODE_NETWORK POD_NETWORK SERVICE_NETWORK LIGHTHOUSE_CACHE

.DEFAULT_GOAL := help
.PHONY: help up down status kubeconfig tools url load install uninstall operators check test scan test-scan test-replicas test-production test-monitoring release test-release evidence bench-fuse bench-bridge bench-events bench-harness explore capacity gate generate format corpus patterns bench-parsers

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

up: ## Start a local cluster, install the chart and load a source tree (NODES=3, PROJECT=path)
	@$(PYTHON) -m ci up --nodes $(NODES) --project $(PROJECT)

down: ## Remove the local cluster without a trace
	@$(PYTHON) -m ci down

status: ## Say in a few lines what runs
	@$(PYTHON) -m ci status

kubeconfig: ## Print the path of the local cluster's kubeconfig
	@$(PYTHON) -m ci kubeconfig

tools: ## Print the folder with helm and kubectl
	@$(PYTHON) -m ci tools

url: ## Print the bridge's address as the host sees it
	@$(PYTHON) -m ci url

load: ## Load another source tree into the bridge (PROJECT=path)
	@$(PYTHON) -m ci load --project $(PROJECT)

install: ## Install the chart on the current kubeconfig context (NAMESPACE=, VALUES="a.yaml b.yaml", SET="key=value")
	@$(PYTHON) -m ci install --namespace $(NAMESPACE) $(VALUES:%=--values %) $(SET:%=--set %)

uninstall: ## Take the release away from the current kubeconfig context; its data stay (NAMESPACE=)
	@$(PYTHON) -m ci uninstall --namespace $(NAMESPACE)

operators: ## Install CloudNativePG, its Barman plugin and cert-manager, on the local cluster or the current context
	@$(PYTHON) -m ci operators

check: ## Prove offline what can be: lint, types, renders, units
	@$(PYTHON) -m ci check

test: ## Prove everything a change can break, on a running cluster
	@$(PYTHON) -m ci test --nodes $(NODES)

scan: ## Scan images, locks, manifests and sources (ONLY="locks sources", DATABASE=folder with trivy.db, OSV_URL= where there is no network)
	@$(PYTHON) -m ci.scan --reports $(REPORTS) $(DATABASE:%=--database %) $(OSV_URL:%=--osv-url %) $(ONLY:%=--only %)

explore: ## Try the properties with inputs that no run had before (ROUNDS=3)
	@$(PYTHON) -m ci explore --rounds $(ROUNDS)

test-scan: ## Prove that the scanners find what is planted and fail when they are blind
	@$(PYTHON) -m ci test-scan

test-replicas: ## Prove that three bridges on PostgreSQL and Redis act as one while they are killed and updated
	@$(PYTHON) -m ci test-replicas --nodes $(NODES)

test-production: ## Prove what the production profile stands on, with its servers failing (PART=postgres for one)
	@$(PYTHON) -m ci test-production --part "$(PART)"

test-monitoring: ## Prove monitoring with a real Prometheus: targets, rules, panels, alerts that fire and clear (PICTURES=1 draws the dashboards)
	@$(PYTHON) -m ci test-monitoring --nodes $(NODES) $(PICTURES:%=--pictures)

release: ## Build chart and air-gap bundle in build/release (SIGN_KEYRING=file SIGN_KEY=id, or UNSIGNED=1; OPERATORS=folder MIRROR=registry to take others' images along)
	@$(PYTHON) -m ci.bundle --output $(RELEASE) $(SIGN_KEYRING:%=--keyring %) $(if $(SIGN_KEY),--key '$(SIGN_KEY)') $(SIGN_PASSPHRASE_FILE:%=--passphrase-file %) $(UNSIGNED:%=--unsigned) $(OPERATORS:%=--operators %) $(MIRROR:%=--mirror %)

test-release: ## Prove a release: signatures, digests and contents
	@$(PYTHON) -m ci test-release

evidence: ## Run all proofs but the heavier suites and write docs/evidence.md; suites add theirs with EVIDENCE=1
	@EVIDENCE=1 $(PYTHON) -m ci test --nodes $(NODES) --whole

bench-fuse: ## Compare the FUSE mount with the native file system, passthrough_ll and pyfuse3
	@$(PYTHON) -m tests.bench.fuse

bench-bridge: ## Put the bridge under load and compare it with a policy server (ARGS="--seconds 10 --endurance 30" is short)
	@$(PYTHON) -m ci bench-bridge $(ARGS)

bench-events: ## Compare the event store with pgbench and a bare sqlite3 loop
	@$(PYTHON) -m tests.bench.events

bench-harness: ## Compare the chart harness with helm-unittest
	@$(PYTHON) -m ci bench-harness

capacity: ## Say what a release needs, whether it fits and what it costs (ARGS="--help")
	@$(PYTHON) -m ci.capacity $(or $(ARGS),show)

gate: ## Run the gate of a day of the rollout (DAY=n)
	@$(PYTHON) -m ci gate --day $(or $(DAY),0)

generate: ## Write the chart's schema and README and the generated pages of docs from their sources
	@$(PYTHON) -m ci.chart
	@$(PYTHON) -m ci.capacity pages
	@$(PYTHON) -m ci.monitoring generate

format: ## Format the Python code
	@$(PYTHON) -m ruff format . && $(PYTHON) -m ruff check --fix .

corpus: ## Print how the shipped rules decide the labelled commands
	@PYTHONPATH=images/bridge $(PYTHON) -m tests.images.bridge.labelled

patterns: ## Learn the classifier's weights from the labelled commands and print how well it does on unseen ones
	@PYTHONPATH=images/bridge $(PYTHON) -m tests.images.bridge.pattern_training

bench-parsers: ## Compare parsers of shell text on the labelled commands
	@PYTHONPATH=images/bridge $(PYTHON) -m tests.bench.parsers
