# Everything runs in .venv, made on first use. `constraints.txt` pins every version.
SHELL := /bin/bash
PY := .venv/bin/python
# Of 20,000 files of packages most are never imported; those that are get compiled then.
PIP := $(PY) -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
EXTRAS := dev,docs,annotate,sam2,decord,ray,s3,onnx

# Where the environment forbids bytecode, every process would compile all that it imports anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo picture test check format docs dist clean

.venv/core: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(PIP) hatchling editables setuptools wheel
	$(PIP) --no-build-isolation -e .
	@touch $@

# sam2 builds from source: against the installed torch, and without its CUDA extension.
.venv/dev: .venv/core
	SAM2_BUILD_CUDA=0 $(PIP) --no-build-isolation -e .[$(EXTRAS)]
	$(PIP) --no-deps trackeval lvis # they depend on another OpenCV, and their measures need none
	@touch $@

demo: .venv/core            ## a first try: make a video, track it, score it, print where the picture is
	.venv/bin/vidseg demo --out runs/demo

picture: .venv/core         ## the README's moving picture
	.venv/bin/vidseg demo --out runs/demo --animation docs/images/demo.webp

# Three processes of one thread each, as some always wait (for a browser, a worker, a kill). Threads within them
# would only fight for the same cores. Whoever is idle takes over half of what another one has left to do.
test: export OMP_NUM_THREADS = 1
test: .venv/dev             ## fast tests first, then the slow ones
	$(PY) -m pytest -q -x -n 3 --dist worksteal -m "not slow"
	$(PY) -m pytest -q -n 3 --dist worksteal -m slow

check: .venv/dev            ## format, lint, types, imports
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports

format: .venv/dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.venv/docs: .venv/core
	$(PIP) --no-build-isolation -e .[docs]
	@touch $@

docs: .venv/docs            ## the documentation's pages, in build/docs; a broken link is an error
	$(PY) -m sphinx -q -W --keep-going -b html docs build/docs

# Times in both come from the commit, so that anyone who builds it gets the same bytes.
dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
dist: .venv/core            ## wheel and sdist, in dist
	rm -rf dist
	$(PY) -m hatchling build -d dist

clean:
	rm -rf .venv build dist runs
