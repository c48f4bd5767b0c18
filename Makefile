# make demo and make test are all a newcomer needs; both set up a virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests run in two processes, and small matrices do not gain from threads.
# glibc's defaults give large freed blocks back at once and pay for them again in page faults.
export OMP_NUM_THREADS ?= 1
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296

.PHONY: demo test slow crash lint notebooks docs wheel clean

$(VENV)/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(VENV)/ready  ## train, measure and compare 3 recipes × 8 seeds; writes study/
	$(BIN)/landscape demo --out study

test: $(VENV)/ready  ## the tests, in two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal

slow: $(VENV)/ready  ## the long proofs
	$(BIN)/python -m pytest -n 2 -m slow

crash: $(VENV)/ready  ## the study file's full counts, 200 kills and 2,000 mutated files; interrupted runs; the shell
	$(BIN)/python -m pytest -n 2 -m slow tests/store tests/cli tests/spectra/test_state.py

lint: $(VENV)/ready  ## formatting, lint, spelling, prose, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell landscape tests docs benchmarks README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/proselint --config .proselintrc.json check README.md CHANGELOG.md CONTRIBUTING.md docs/*.md docs/*/*.md
	$(BIN)/mypy
	$(BIN)/lint-imports

notebooks: $(VENV)/ready  ## run the notebooks and store their outputs
	$(BIN)/python notebooks/run.py

docs: $(VENV)/ready  ## build the site into site/; a warning is an error
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html -d build/doctrees docs site

wheel: $(VENV)/ready  ## build the wheel and the source distribution
	$(BIN)/python -m build --outdir dist

clean:
	rm -rf $(VENV) build dist site study jupyter_execute *.egg-info
