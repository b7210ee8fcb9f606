# Two commands for a fresh clone that has Python, pip and make: `make run` shows the product, `make test` checks it.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two a core and one more: a test waits for a process or a database longer than it computes. Six share a server well.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 3 ? 2 * n + 1 : 6 )))
# Each worker, and each Python that a test starts, would compile all modules anew and rewrite the tests' assertions.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile

.PHONY: help run test check format lint types layers tests unit property contract acceptance explore \
	system-packages lock audit sbom release clean

help:
	@echo "make run     install into .venv and show presence ledger at work, with a simulated WuKongIM"
	@echo "make test    install what the tests need (as root with apt too) and check everything"
	@echo "make check   check everything: format, lint, types, layers, tests with coverage"
	@echo "make unit    the tests of a minute; property, contract and acceptance are the others"
	@echo "make explore hunt with random seeds until something is found, or for SECONDS=600"
	@echo "make format  put every file into the one format"
	@echo "make lock    resolve the dependencies again (needs uv)"
	@echo "make audit   look the dependencies up in the databases of known vulnerabilities (needs the network)"
	@echo "make sbom    write what the service is made of (CycloneDX) into dist"
	@echo "make release build the wheel, the SBOM and the notes of this version into dist"

run: .venv/run.done
	$(BIN)/presence-ledger demo

# pip and apt use one core each.
test:
	@$(MAKE) --no-print-directory -j 3 system-packages .venv/test.done .venv/clients.done
	@$(MAKE) --no-print-directory check

# The types are checked alongside the tests, which wait as often as they compute, and begin once `lint` is done.
check: .venv/test.done
	@$(MAKE) --no-print-directory -j 3 lint layers types tests

lint: .venv/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/test.done
	$(BIN)/mypy ledger projections tests bench

layers: .venv/test.done
	$(BIN)/lint-imports

# The rules themselves are covered to the last branch, the rest to nine tenths.
tests: .venv/found.done
	rm -f .coverage .coverage.*
	$(PYTEST) --cov --cov-report=
	$(BIN)/coverage report --include 'ledger/domain/*' --fail-under 100
	$(BIN)/coverage report --omit 'ledger/domain/*' --fail-under 90

unit property contract acceptance: .venv/test.done
	$(PYTEST) tests/$@

explore: .venv/test.done
	$(BIN)/python -m bench.explore --jobs $(JOBS) $(if $(SECONDS),--seconds $(SECONDS))

format: .venv/test.done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

system-packages:
	@./.ci/system-packages

# Debian's python3 comes without the pip that `venv` puts in; a pip outside can put one in as well.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@rm -rf .venv
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 \
		|| { rm -rf .venv; $(PYTHON) -m venv --without-pip .venv \
			&& $(PYTHON) -m pip --quiet --python $(BIN)/python install pip; } \
		|| { rm -rf .venv; echo "No virtual environment can be made: install python3-venv (or pip), then try again" >&2; exit 1; }
	@touch $@

# The locks are complete: resolving them again (an older pip, coverage[toml] of pytest-cov) finds newer releases. pip would
# compile on one core; a file of some package that does not compile is passed over, as by pip.
define install
@$(PIP) install --no-compile --require-hashes --no-deps -r $(1)
@$(PIP) install --no-deps --editable .
@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
@touch $@
endef

.venv/run.done: .venv/made requirements.lock pyproject.toml
	@echo "Installing presence ledger into .venv ..."
	$(call install,requirements.lock)

.venv/test.done: .venv/made requirements-dev.lock pyproject.toml
	@echo "Installing presence ledger and its checks into .venv ..."
	$(call install,requirements-dev.lock)

# One process rewrites the assertions of the tests, which else each worker would, all at the same time.
.venv/found.done: .venv/test.done
	@$(BIN)/pytest --collect-only -qq >/dev/null || true
	@touch $@

# What makes clients of the API's description: apart, since it needs another typer than the service does.
.venv/clients.done: .venv/made tests/clients/requirements.lock tests/clients/package-lock.json
	@echo "Installing what generates clients beside .venv's own ..."
	@rm -rf .venv/clients
	@$(PIP) install --require-hashes --no-deps --target .venv/clients/python -r tests/clients/requirements.lock
	@cp tests/clients/package.json tests/clients/package-lock.json .venv/clients
	@if command -v npm >/dev/null; then npm ci --prefix .venv/clients --ignore-scripts --no-audit --no-fund --silent; fi \
		|| echo "npm could not install openapi-typescript: the test of a TypeScript client is left out."
	@touch $@

UV_COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade

lock:
	$(UV_COMPILE) -o requirements.lock
	$(UV_COMPILE) --group dev -o requirements-dev.lock

# Apart from .venv, whose packages are those of the lock and no others.
.venv/audit: .venv/made
	@$(PIP) install --target $@ 'pip-audit>=2.9,<3'

audit: .venv/audit
	PYTHONPATH=.venv/audit $(BIN)/python -m pip_audit --strict --require-hashes --disable-pip --progress-spinner off \
		-r requirements.lock

sbom:
	@mkdir -p dist
	@./.ci/sbom > dist/presence-ledger.cdx.json

release: .venv/test.done sbom
	@./.ci/release-notes > dist/release-notes.md
	$(BIN)/python -m hatchling build --directory dist
	cd dist && sha256sum *.whl *.tar.gz presence-ledger.cdx.json > SHA256SUMS

clean:
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
