# Everything runs in .venv, which each target makes ready first: `make demo` is enough on a fresh machine.
# HALFOPEN_PYTHON=/path/to/python chooses the interpreter; ARGS=… is handed to pytest, or to the benchmark.

PYTHON := .venv/bin/python
SOURCES := src tests scripts hatch_build.py $(wildcard bench)
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help demo test quick floors check bench bpf bpf-verify man docs locale pictures dev format clean ready-run ready-dev ready-bpf ready-bench

help: ## This list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || \
		sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

demo: ready-run ## See it work: a flood turns clients away from a private host, is explained and cured.
	@$(PYTHON) -m halfopen.cli.demo $(ARGS)

test: ready-dev ## Run every test (as root, or where user namespaces are allowed; others skip).
	@$(PYTHON) -m pytest -n auto --dist loadgroup $(ARGS)

quick: ready-dev ## Run the tests that need no kernel and no root (unit, golden), but for the slow ones.
	@HALFOPEN_TEST_QUICK=1 $(PYTHON) -m pytest -n auto -m "not slow" tests/unit tests/golden $(ARGS)

floors: ready-dev ## Run these with the oldest versions of the libraries that pyproject.toml allows.
	@$(PYTHON) scripts/floors.py $(ARGS)

check: ready-dev ## Lint, format, types, the import law, and that tables and eBPF objects fit their sources.
	@$(PYTHON) -m ruff check $(SOURCES)
	@$(PYTHON) -m ruff format --check $(SOURCES)
	@$(PYTHON) -m mypy --strict src scripts
	@$(PYTHON) scripts/import_law.py
	@$(PYTHON) scripts/build_docs.py --check
	@$(PYTHON) scripts/build_locale.py check
	@$(PYTHON) scripts/build_bpf.py check

bench: ready-bench ## Measure against ss, netstat and others on the same sockets.
	@$(PYTHON) bench/run.py $(ARGS)

bpf: ready-bpf ## Compile the eBPF programs that changed (bpf/), as they are committed.
	@$(PYTHON) scripts/build_bpf.py build --pinned $(ARGS)

man: ready-dev ## Write the manual pages (docs/man) from --help.
	@$(PYTHON) scripts/build_man.py

locale: ready-dev ## Enter new sentences into the catalogues of translations, and compile them.
	@$(PYTHON) scripts/build_locale.py

docs: ready-dev ## Write the tables in docs/ that are made from registries of the code.
	@$(PYTHON) scripts/build_docs.py

pictures: ready-dev ## Make the pictures of README and docs anew, in two minutes, from the program at work.
	@$(PYTHON) scripts/build_pictures.py $(ARGS)

bpf-verify: ready-bpf ## Compile all eBPF programs again and compare with what is committed.
	@$(PYTHON) scripts/build_bpf.py verify

dev: ready-dev ## Make .venv ready for work.
	@echo "ready: $(PYTHON) -m pytest, .venv/bin/halfopen"

format: ready-dev ## Bring the code into shape.
	@$(PYTHON) -m ruff check --fix $(SOURCES)
	@$(PYTHON) -m ruff format $(SOURCES)

clean: ## Remove .venv and everything built or cached.
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are .venv/.ready-*; the script compares them with pyproject.toml and returns at once when all is there.
ready-run ready-dev ready-bpf ready-bench: ready-%:
	@scripts/bootstrap $*
