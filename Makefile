# make demo   set up .venv, get the model, run the quickstart sweep (no GPU needed)
# make test   set up .venv, lint, type-check and run the whole suite (needs Icarus Verilog: apt-get install iverilog)
# make test-long, make bench, make reports   slow checks, measurements and reports whose results are committed
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCE := $(shell find lutscape hw models sim rtl explore configs -name '*.py' -o -name '*.yaml' -o -name '*.j2' -o -name '*.csv' -o -name '*.typed')
export OPENBLAS_NUM_THREADS ?= 2

.PHONY: demo test test-long check bench reports clean
demo: $(VENV)/.package
	$(BIN)/lutscape models get smollm2-135m
	$(BIN)/lutscape sweep quickstart --resume
	$(BIN)/lutscape sweep all-machines --workload smollm2-chat --resume

test: check
	$(BIN)/lutscape models get smollm2-135m
	$(BIN)/lutscape rtl liberty get nangate45
	$(BIN)/pytest -n 2 -m "not long"

test-long: $(VENV)/.package-dev
	$(BIN)/lutscape models get smollm2-135m
	$(BIN)/pytest -m long -vv --durations=0 --no-header > reports/test-long.txt; code=$$?; cat reports/test-long.txt; exit $$code

# The reports that are committed, written again by their commands.
reports: $(VENV)/.package-dev
	$(BIN)/lutscape models get smollm2-135m
	rm -rf lutscape-out/reports
	$(BIN)/lutscape sweep quickstart -o lutscape-out/reports
	mkdir -p reports/quickstart
	cd lutscape-out/reports && cp index.html chosen.yaml sweep.yaml versions.json trials.parquet trace.parquet figures/pareto.png ../../reports/quickstart/
	for paper in mma-sim lut-tensor-core lut-dla roma; do $(BIN)/lutscape papers $$paper -o reports/papers/$$paper.html || exit 1; done
	$(BIN)/lutscape sweep all-machines -o lutscape-out/all-machines-report
	mkdir -p reports/all_machines
	cd lutscape-out/all-machines-report && cp index.html comparison.json picture.png ../../reports/all_machines/
	rm -rf lutscape-out/all-machines-report
	$(BIN)/lutscape report --all reports

# mypy checks the installed copy: the package-dir mapping exists only there.
check: $(VENV)/.package-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p lutscape

bench: $(VENV)/.package-dev
	$(BIN)/python reports/benchmark/quickstart.py

# The peer (mmasim, and with it PyTorch) is installed only here and is no dependency of the package.
bench-mma: $(VENV)/.package-dev
	$(BIN)/pip install --quiet --disable-pip-version-check mmasim==2.1.1 ninja setuptools || echo "no mmasim: its columns stay empty"
	$(BIN)/python reports/mma/bench.py

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lutscape needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "system package missing: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.dependencies: $(VENV)/.venv pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check '.[rtl]'
	@touch $@

$(VENV)/.package: $(VENV)/.dependencies $(SOURCE)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	@rm -rf build lutscape.egg-info
	@touch $@

$(VENV)/.package-dev: $(VENV)/.package
	$(BIN)/pip install --quiet --disable-pip-version-check '.[dev]'
	@rm -rf build lutscape.egg-info
	@touch $@

clean:
	rm -rf $(VENV) build lutscape.egg-info .pytest_cache .mypy_cache .ruff_cache
