# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out/demo
export MPLBACKEND = Agg
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all lint bench docs clean help
help:                   ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# Stamps make a second call install nothing; they are renewed when the requirements change.
$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("mfh needs Python 3.11 or newer; this is %d.%d. Name another one: make PYTHON=python3.12 ..." % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.cluster: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cluster]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

demo: $(VENV)/.base     ## the main job on real data: do teachers that see fou too help zer, with 160 labels?
	test -f out/mfeat.npz || $(BIN)/mfh data mfeat --out out/mfeat.npz
	$(BIN)/mfh study --data out/mfeat.npz --teacher fou --student zer --labelled 0.1 --label-curve 0.3 1 --seeds 10 --out $(OUT)
	@echo "The report: $(abspath $(OUT))/report.html"

# two test processes on two cores: a second thread in each would only wait
test test-all: export OMP_NUM_THREADS = 1

test: $(VENV)/.dev lint ## lint, types, doctests and the quick tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(VENV)/.cluster lint ## the slow tests too, on a local Ray and Dask among others
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not gpu'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev     ## every benchmark against the recorded ratios; `python -m benchmarks` records them anew
	$(BIN)/python -m benchmarks --check

docs: $(VENV)/.docs     ## the documentation as a site, with pictures from real runs
	$(BIN)/python docs/pictures.py docs/_pictures
	$(BIN)/sphinx-build -W --keep-going -q -b html docs site
	@echo "The site: $(abspath site)/index.html"

clean:                  ## remove the environment, outputs of `make demo` and the site
	rm -rf $(VENV) out site docs/_pictures
