# Two commands: `make chapters` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: chapters test export clean-nbs docs upgrade

chapters: $(READY)  ## run the chapter notebooks top to bottom; FRESH=1 forgets stored results, MLIC_PROFILE=quick|default|full
	$(BIN)/python tools/notebooks.py chapters $(if $(FRESH),--fresh)

test: $(READY)  ## export in step, notebooks clean, library tests, chapters at the quick profile
	$(BIN)/python tools/notebooks.py test

export: $(READY)  ## notebooks -> mlic/ and README.md
	$(BIN)/nbdev_export
	$(BIN)/python tools/notebooks.py readme

clean-nbs: $(READY)
	$(BIN)/python tools/notebooks.py clean

docs: $(READY)  ## notebooks -> docs/, browsable without a network
	$(BIN)/python tools/docs.py

upgrade:  ## newest versions that fit together -> constraints.txt; then run `make test`
	rm -rf .venv && $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[dev,dask,ray,accelerate,onnx,app]'
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt
	touch $(READY)

$(READY): settings.ini setup.py constraints.txt  # ray is left out: large, and only bench/scale.py needs it
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,dask,accelerate,onnx,app]'
	touch $(READY)
