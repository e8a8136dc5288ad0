# Two commands: `make test` and `make chapters`. Each makes .venv on first use.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: chapters book test lint audit sbom export clean-nbs docs upgrade

test: $(READY)  ## notebooks of the library, tests/, chapters at the profile quick, export in step, wheel
	$(BIN)/python tools/notebooks.py test

chapters: $(READY)  ## run all chapters into results/; FRESH=1 forgets stored results, MLIC_PROFILE=quick|default|full
	$(BIN)/python tools/notebooks.py chapters $(if $(FRESH),--fresh)

book: $(READY)  ## what `make chapters` made at the profile default becomes the committed chapters
	$(BIN)/python tools/notebooks.py book

lint: $(READY)  ## the form of the code: ruff, layers, names, examples (seconds)
	$(BIN)/python -m pytest -q tests/test_house.py

audit: $(READY)  ## versions and hashes agree; known vulnerabilities (where there is a network); licences
	$(BIN)/python tools/supply.py audit

sbom: $(READY)  ## the wheel and its bill of materials in dist/
	$(BIN)/python tools/supply.py sbom

export: $(READY)  ## notebooks -> mlic/ and README.md
	$(BIN)/nbdev_export
	$(BIN)/python tools/notebooks.py readme

clean-nbs: $(READY)
	$(BIN)/python tools/notebooks.py clean

docs: $(READY)  ## notebooks -> docs/, browsable without a network
	$(BIN)/python tools/words.py && $(BIN)/python tools/docs.py

upgrade:  ## newest versions that fit together -> constraints.txt; then run `make test`
	rm -rf .venv && $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[dev,dask,ray,accelerate,onnx,app,serve,dicom,parquet,sign,audit]'
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt
	$(BIN)/python tools/supply.py lock
	touch $(READY)

$(READY): settings.ini setup.py constraints.txt  # ray is left out: large, and only bench/scale.py needs it
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,dask,accelerate,onnx,app,serve,dicom,parquet,sign,audit]'
	touch $(READY)
