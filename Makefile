# Start with `make demo` or `make test`. Both install what is missing in .venv and change nothing outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos -name '*.proto')

.DEFAULT_GOAL := help
.PHONY: help setup demo test docs lint format baseline stubs manifests images push images-check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

setup: $(VENV)/installed gen/generated ## install the environment with the exact versions of constraints.txt

demo: setup ## start the suite, load the demo shop, take the tour
	$(BIN)/python -m cli.demo

test: setup ## run all tests, in about 27 minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --no-loadscope-reorder tests/unit tests/contract tests/integration
	$(BIN)/pytest tests/e2e

docs: setup ## build the documentation site in build/docs; a warning or a broken link is an error
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs

lint: setup ## run ruff and strict mypy; compare protos/ with the last release
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf breaking protos --against protos/baseline.binpb

format: setup ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

baseline: setup ## at a release: store the contracts that later changes must keep
	$(BIN)/buf build protos --exclude-source-info --output protos/baseline.binpb

stubs: ## generate gen/ from protos/ again
	$(BIN)/python hatch_build.py

CRDS ?= ../shared/crds
manifests: setup ## for developers of Kairos: lint and check deploy/ without a cluster; needs kubectl; CRDS=…
	$(BIN)/yamllint --strict deploy
	$(BIN)/python -m deploy.checks $(if $(wildcard $(CRDS)),--crds $(CRDS))

TAG ?= 0.1.0
# Torch exports the model and trains, on CPUs. Its default wheels bring CUDA, which is gigabytes. Empty: your own index.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
IMAGES := gateway query-encoder retrieval ranker pricing sponsored assistant price-publisher biller control cli learner suite
images: ## build the images with docker; REGISTRY=registry.example.com/, TAG=…, IMAGES=…, TORCH_INDEX_URL=…
	for image in $(IMAGES); do \
	  docker build -f deploy/docker/$$(echo $$image | tr - _).Dockerfile --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) \
	    -t $(REGISTRY)kairos/$$image:$(TAG) . || exit 1; \
	done

push: ## push what `make images` built
	for image in $(IMAGES); do docker push $(REGISTRY)kairos/$$image:$(TAG) || exit 1; done

images-check: setup ## build the images' environments without docker, each in a clean environment; takes minutes
	$(BIN)/python -m deploy.checks.images

clean: ## remove everything that was built, downloaded or stored here
	rm -rf $(VENV) gen build dist var docs/reference/generated .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed: pyproject.toml constraints.txt hatch_build.py
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Kairos needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

gen/generated: $(PROTOS) hatch_build.py | $(VENV)/installed
	$(BIN)/python hatch_build.py
	touch $@
