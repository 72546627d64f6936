# Everything that people and CI do with RecStack. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUF := npx --yes --package=@bufbuild/buf@1.75.0 -- buf
PEERS := .venv-peers
BENCHES := recommend_floor stack_of_defaults ray_serve scoring feature_reads retrieval_scale training freshness memory growth tracing_cost
PIP := -m pip install --quiet --disable-pip-version-check
PIP_INSTALL := $(BIN)/python $(PIP) --constraint constraints.txt

READY := $(VENV)/.ready
STUBS := $(VENV)/.stubs
PROTOS := $(shell find protos -name '*.proto')

.PHONY: help setup peers protos demo up down train evaluate quality bench bench-stream load test upgrade-proof lint types proto-lint images images-test images-steps k8s-validate lock format check clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

setup: $(READY) $(STUBS) ## Make .venv with everything in it, and generate the gRPC stubs

# torch first: a CPU build that is there already keeps what depends on torch from fetching a CUDA one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "RecStack needs Python 3.11 or newer")'
	@echo "setting up $(VENV) (a few minutes the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable '.[all,dev]'
	touch $@

$(STUBS): $(PROTOS) protos/generate.py $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/generate.py
	touch $@

peers: $(STUBS) $(PEERS)/.ready ## Make .venv-peers: the same, and what benchmarks compare with

# Feast refuses the newest of three packages.
$(PEERS)/.ready: pyproject.toml constraints.txt
	@echo "setting up $(PEERS) (a few minutes the first time)"
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	grep -vE '^(pandas|prometheus_client|redis)==' constraints.txt > $(PEERS)/constraints.txt
	$(PEERS)/bin/python $(PIP) --constraint $(PEERS)/constraints.txt torch
	$(PEERS)/bin/python $(PIP) --constraint $(PEERS)/constraints.txt --editable '.[all,dev,peers]'
	touch $@

protos: $(STUBS) ## Generate the gRPC stubs into shared/recstack/api

demo: setup ## Train (quick), start everything, recommend, send an event, stop everything
	$(BIN)/recstack demo
	@echo 'The recstack command is in $(VENV): source $(BIN)/activate'

up: setup ## Start Redis and the four services, and keep them running
	$(BIN)/recstack up --detach

down: ## Stop what `make up` started
	$(BIN)/recstack down

train: setup ## Train the full preset, publish the bundle and activate it
	$(BIN)/recstack train --preset full

evaluate: setup ## Compare the active bundle with baselines on the test split
	$(BIN)/recstack evaluate --bundle active

quality: setup ## Train and judge every model under every protocol, into docs/quality (hours)
	$(BIN)/recstack evaluate --processes 2 --out docs

bench: peers ## All benchmarks, also against other projects, into docs/benchmarks (an hour; BENCHES=name for one)
	for name in $(BENCHES); do $(PEERS)/bin/python -m tests.bench.$$name --out docs/benchmarks/$$name.json; done
	$(PEERS)/bin/python -m tests.bench.page

bench-stream: setup ## Train on 20 million rows streamed from Parquet, and print the memory it takes
	$(BIN)/python -m tests.bench.streaming --out docs/benchmarks/streaming.json

load: setup ## Find the highest rate that the local stack sustains, with a report in .recstack/load (minutes)
	$(BIN)/python -m tests.load knee

test: setup ## Run the tests (real Redis, real gRPC servers, real Ray Serve)
	$(BIN)/pytest

upgrade-proof: setup ## Upgrade gateways, rankers and a Ray cluster while calls go on, none of which may fail (minutes)
	RECSTACK_UPGRADE_PROOF=1 $(BIN)/pytest -s tests/integration/test_upgrade_rolling.py tests/integration/test_upgrade_ray.py

lint: setup ## Check style and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint docker/Dockerfile

types: setup ## Check types: mypy --strict on shared
	$(BIN)/mypy

images: ## Build all container images with docker or podman, whichever is there (IMAGES=, BASE=, TORCH_INDEX=, TAG=)
	docker/build $(IMAGES)

images-test: images setup ## The same, then run them by compose and by the manifests (needs a Docker daemon with compose)
	IMAGES_TAG=$(or $(TAG),dev) $(BIN)/pytest tests/integration/test_images.py tests/integration/test_images_overlays.py

images-steps: setup ## Run the Dockerfile's steps for the small images as a script (where there is no container engine)
	IMAGES_STEPS=1 $(BIN)/pytest tests/integration/test_images_steps.py

k8s-validate: setup ## Build every kustomize combination and check it against the schemas (CRDS=folder for custom kinds)
	$(BIN)/python k8s/validate.py $(if $(CRDS),--crds $(CRDS))

proto-lint: ## Check the contracts (needs npm)
	$(BUF) lint

# Without Triton: each CUDA build of torch asks for its own version.
lock: setup ## Write constraints.txt anew from what .venv holds
	echo "# Exact versions of everything that \`make setup\` installs. Made by \`make lock\`." > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -e 's/+cpu//' -e '/^triton==/d' >> constraints.txt

format: setup ## Rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint types proto-lint test ## Everything that CI checks

clean: ## Remove everything that is not in git
	rm -rf $(VENV) $(PEERS) .recstack shared/recstack/api build *.egg-info
