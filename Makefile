# Two commands to start with: `make run` (the main job on an embedded emulator) and `make test`.
# Each makes its own virtual environment from the locked, hashed files in requirements/.

PYTHON ?= python3
.DEFAULT_GOAL := help

.PHONY: help run setup test fuzz check lint types layers format lock clean

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# $(1): the environment's folder, $(2): its requirements file, $(3): more options of pip
define venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	rm -rf $(1)
	$(PYTHON) -m venv $(1)
	$(1)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: $(3) -r $(2)
endef

.venv-run/ready: requirements/demo.txt
	$(call venv,.venv-run,requirements/demo.txt)
	touch $@

.venv/ready: requirements/dev.txt pyproject.toml
	$(call venv,.venv,requirements/dev.txt)
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: .venv-run/ready ## The main job on an embedded emulator, until Ctrl-C (ARGS="--for 30s")
	.venv-run/bin/python -m poller demo $(ARGS)

test: .venv/ready ## Everything CI checks: lint, types, layers, tests (with the real local servers where Java and Maven are)
	@$(MAKE) --no-print-directory lint types layers
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

setup: .venv/ready ## The environment for working on it, in .venv

fuzz: .venv/ready ## The fuzzers for longer, with new examples each time (FUZZ=20, times the usual; ARGS="-k settings")
	FUZZ=$(or $(FUZZ),20) .venv/bin/python -m pytest tests/fuzz $(ARGS)

check: .venv/ready lint types layers ## Only lint, types and layers

lint: .venv/ready ## Only ruff
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/ready ## Only mypy
	.venv/bin/mypy

layers: .venv/ready ## Only import-linter, which holds the floors of the code apart
	.venv/bin/lint-imports

format: .venv/ready ## Let ruff format and mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Renew requirements/*.txt from pyproject.toml (needs uv; no index address gets into the files)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade pyproject.toml -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --extra demo pyproject.toml -o requirements/demo.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --extra otel pyproject.toml -o requirements/otel.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --extra dev pyproject.toml -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --group docs -o requirements/docs.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --group tools -o requirements/tools.txt
	echo hatchling | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --upgrade --constraint requirements/dev.txt - -o requirements/build.txt

.PHONY: chaos soak

chaos: .venv/ready ## Six workers on the real local servers, and faults of every kind (MINUTES=5 SEED=7)
	.venv/bin/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

soak: .venv/ready ## The same for long, 200 changes a second and a fault a minute (MINUTES=30 SEED=7)
	.venv/bin/python -m tests.chaos --soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

.PHONY: sim mutants

sim: .venv/ready ## Simulated fleets in hostile worlds, seed after seed, until Ctrl-C (ARGS="--seed 1000 --jobs 2")
	.venv/bin/python -m tests.sim --seeds 0 $(ARGS)

mutants: .venv/ready ## Plants every known bug; the simulator must find each within 100 seeds (ARGS="--jobs 2")
	.venv/bin/python -m tests.sim --mutants $(ARGS)

.PHONY: bench bench-quick screenshots

bench: .venv/ready ## Every workload and contestant, pinned to a core each; needs Go, for KCL Java and Maven (ARGS="--workloads W1,W3 --only poller,boto3")
	.venv/bin/python -m benchmarks $(ARGS)

bench-quick: .venv/ready ## A first look beside plain boto3, in less than two minutes
	.venv/bin/python -m benchmarks --quick --dry $(ARGS)

.PHONY: docs dist

.venv-docs/ready: requirements/docs.txt
	$(call venv,.venv-docs,requirements/docs.txt)
	touch $@

docs: .venv-docs/ready ## The documentation, into build/docs; warnings are errors
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

.venv-build/ready: requirements/build.txt
	$(call venv,.venv-build,requirements/build.txt)
	touch $@

dist: .venv-build/ready ## Wheel and sdist into dist/, and the demo by the wheel in an empty environment (PYTHONS="python3.11 python3.13")
	tests/dist/run $(or $(PYTHONS),$(PYTHON))

.PHONY: deploy-check audit sbom

# Tools that look at the project from outside, in an environment that shares nothing with it.
.venv-tools/ready: requirements/tools.txt
	$(call venv,.venv-tools,requirements/tools.txt,--no-compile)
	touch $@

deploy-check: .venv-tools/ready ## cfn-lint on the CloudFormation templates, the Terraform module parsed (and formatted, where terraform is)
	.venv-tools/bin/cfn-lint config/deploy/cloudformation.yml config/cloudwatch/alarms.yml
	.venv-tools/bin/python -c 'import hcl2, pathlib, sys; [hcl2.loads(pathlib.Path(one).read_text()) for one in sys.argv[1:]]' config/deploy/terraform/*.tf
	if command -v terraform >/dev/null; then terraform fmt -check -diff -recursive config/deploy/terraform; fi

audit: .venv-tools/ready ## Known vulnerabilities in what is shipped; fails where the advisories are not to be had (ARGS="--vulnerability-service osv")
	.venv-tools/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/run.txt $(ARGS)

sbom: .venv-tools/ready ## What is shipped, as CycloneDX, in dist/sbom.json
	mkdir -p dist
	.venv-tools/bin/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --of JSON -o dist/sbom.json

screenshots: .venv/ready ## The README's pictures again, docs/img/ (needs Chromium)
	.venv/bin/python docs/screenshots.py

clean: ## Remove the environments and caches
	rm -rf .venv .venv-run .venv-docs .venv-build .venv-tools .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

.PHONY: image image-test

image: ## The container image (IMAGE=poller BUILD_ARGS="--build-arg PYTHON_IMAGE=python@sha256:...")
	docker build $(BUILD_ARGS) --tag $(or $(IMAGE),poller) \
	  --build-arg VERSION=$$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' poller/__init__.py) \
	  --build-arg REVISION=$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown) .

image-test: .venv/ready ## Build the image, and run it without any rights on the real local servers (needs Docker on Linux)
	tests/image/run $(ARGS)
