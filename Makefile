# Needs make, git and a Python 3.11, 3.12 or 3.13. Everything else is installed into .venv, everything made lies in
# _build. `make help` lists the commands.

PROFILE ?= quick
PYTHON ?= python3

# Threads that wait for each other spin for long by default; where cores are shared, that costs several times the work
# itself. A short spin is the fastest of those tried, on a quiet machine too.
export GOMP_SPINCOUNT ?= 1000
# Memory given back to the system has to be zeroed when it is asked for again; to keep it saved 2 to 7 % of a chapter.
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824
# Matplotlib's list of fonts; that of the home folder is shared by all environments, and one of them can damage it.
export MPLCONFIGDIR ?= $(CURDIR)/.venv/matplotlib
# Bytecode is written, also where Python is told to write none: tests and chapters start it some hundred times.
export PYTHONDONTWRITEBYTECODE :=

PY := .venv/bin/python
START := $(shell date +%s)
# What chapters, tests and pages import; matplotlib's fonts, for their first import warns. A training imports more, when
# it runs: of torch, SciPy and scikit-learn alone a thousand modules, and the sampler's loops are compiled by it.
imported := matplotlib.font_manager, heavytail.cli, heavytail.book.figures, heavytail.book.build, heavytail.lab.bench, \
  heavytail.lab.simulations, heavytail.book.explorer, IPython, ipykernel.kernelapp, papermill, nbval, pytest, xdist, hypothesis, \
  distributed, jupyter_book, sphinx.application, myst_nb, mpmath, pyarrow.parquet, onnxruntime, onnxscript, heavytail
trained := heavytail.train(heavytail.grid(dataset="digits", width=2, depth=[1, 2], lr=0.1, max_steps=2, \
  noise=["shared", "entrywise", "isotropic"], alpha=1.5, sigma=0.1), progress=False)
elapsed = $$(( $$(date +%s) - $(START) )) s
# Data that the tests have unpacked serve the chapters too, unless HEAVYTAIL_DATA names a folder.
data = HEAVYTAIL_DATA="$${HEAVYTAIL_DATA:-$$(test ! -d _build/data || echo "$$PWD/_build/data")}"
# AGAIN is set by .ci/run: what fails runs once more in a fresh process, and is called flaky if it then passes.
pytest := $(PY) $(if $(AGAIN),tests/again.py,-m pytest) --numprocesses auto --maxprocesses 4 --dist worksteal
say = @printf '\n== %s  (after %s)\n' $(1) "$(elapsed)"

.PHONY: help book pdf test check browser faults slow bench gpu format lint style clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo 'make book                      run the chapters that are out of date and build the pages: _build/html/index.html'
	@echo 'make book PROFILE=workstation  the same with more computing (an hour or so): _build/html-workstation/index.html'
	@echo 'make pdf                       the same, and the whole book as a PDF beside the pages: _build/html/heavytail-book.pdf'
	@echo 'make test                      lint, types, units and statistics; every chapter, what it computes twice; every page'
	@echo 'make check                     lint, types, and the tests that take no seconds: for every change, two minutes'
	@echo 'make browser                   install Chromium for that, where the system is Debian or Ubuntu and you are root'
	@echo 'make faults                    every fault that was ever tried: kills, full disks, damaged files, hostile values, counted'
	@echo 'make slow                      the tests that take minutes each'
	@echo 'make bench                     speed and memory of this machine, as ratios; leave the machine alone meanwhile'
	@echo 'make gpu MINUTES=9             on a machine with a GPU: tests, bench, full-size tables; again to go on; installs nothing'
	@echo 'make format | lint             rewrite the code in the house format | only check format, lint and types'
	@echo 'make clean                     remove _build; the environment stays until you remove .venv'
	@echo 'make ... PYTHON=python3.12     the Python to make .venv with, the first time'

# The stamp is written last, so an interrupted install is done again, from nothing. Compiling every module of every
# package would double the time; those that are imported are compiled here, once. Every file is held against its digest
# and nothing is built; torch alone has none, for it is the build, for the CPU or for CUDA, that the index gives.
pip := $(PY) -m pip --disable-pip-version-check --log _build/install.log install -q
.venv/.installed: requirements.txt requirements-hashed.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v[:2] <= (3, 13) or sys.exit("heavytail needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: name another, as in make book PYTHON=python3.12" % v[:2])'
	$(call say,'environment: the pinned packages go into .venv$(comma) some minutes and 1 GB or more; watch _build/install.log')
	@mkdir -p _build
	@test -f $@ || $(PYTHON) -m venv --clear .venv
	@rm -f $@
	@$(pip) --no-compile --only-binary :all: --no-deps --require-hashes -r requirements-hashed.txt
	@$(pip) --no-compile --only-binary :all: "$$(grep '^torch==' requirements.txt)"
	@$(pip) --no-build-isolation --no-deps -e .
	@$(PY) -W ignore -c 'import $(imported); $(trained)'
	@touch $@

book: .venv/.installed
	$(call say,'book: chapters and pages$(comma) profile $(PROFILE)')
	@$(data) $(PY) -m heavytail.book build --profile $(PROFILE)
	@echo "make book: done in $(elapsed)"

pdf: .venv/.installed
	$(call say,'pdf: chapters$(comma) pages and the book as a PDF$(comma) profile $(PROFILE)')
	@$(data) $(PY) -m heavytail.book build --profile $(PROFILE) --pdf

# Types are checked while the tests start, which leaves a core idle.
test: .venv/.installed style browser
	$(call say,'types$(comma) and tests: units and statistics')
	@mkdir -p _build; $(PY) -m mypy > _build/types.log 2>&1 & types=$$!; $(pytest); units=$$?; \
	  wait $$types || { cat _build/types.log; exit 1; }; exit $$units
	$(call say,'tests: chapters$(comma) run and compared')
	@$(data) $(PY) -m heavytail.book check $(if $(AGAIN),--again)
	$(call say,'tests: pages$(comma) in a browser without a network')
	@$(data) $(PY) -m heavytail.book build
	@$(pytest) -m pages tests/book/pages
	@echo "make test: format, lint, types, tests, chapters and pages passed in $(elapsed)"
	@$(chromium) >/dev/null || echo 'make test: but no page was opened in a browser, for there is none: make browser' >&2

check: .venv/.installed lint
	$(call say,'tests: those that are fast')
	@$(pytest) -m 'not long and not slow and not pages'
	@echo "make check: format, lint, types and the fast tests passed in $(elapsed)"

# Pages are tested in it. Where it can be neither found nor installed, what needs it is left out and said.
chromium := $(PY) -m heavytail.book browser
browser: .venv/.installed
	@$(chromium) >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && printf '\n== browser: apt-get installs Chromium\n' && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; } \
	  || echo 'No Chromium here, so pages are not opened: sudo apt-get install chromium, or name its program in CHROMIUM' >&2

# Of most of these `make test` tries a part.
faults: .venv/.installed
	@FAULTS=all $(pytest) -m 'not slow and not pages' tests/faults

slow: .venv/.installed
	@$(PY) -m pytest -m slow
	@$(data) $(PY) -m heavytail.book check --all
	@$(PY) tests/mutants.py --one-in 10

bench: .venv/.installed
	@$(PY) -m heavytail bench

# In an environment of PYTHON's own with torch for CUDA, Triton, what the lab imports, and pytest; no network, no git.
MINUTES ?= 9
OUT ?= _build/gpu
STORE ?= _build/gpu-store
gpu:
	@$(data) $(PYTHON) -m heavytail gpu --minutes $(MINUTES) --out '$(OUT)' --store '$(STORE)' --commit '$(COMMIT)' \
	  --only '$(TABLES)' $(if $(EARLIER),--earlier '$(EARLIER)') --profile $(if $(filter file,$(origin PROFILE)),paper,$(PROFILE))

lint: style
	$(call say,'types')
	@$(PY) -m mypy

style: .venv/.installed
	$(call say,'format$(comma) lint')
	@$(PY) -m ruff format --check heavytail tests .ci setup.py
	@$(PY) -m ruff check heavytail tests .ci setup.py

format: .venv/.installed
	@$(PY) -m ruff format heavytail tests .ci setup.py
	@$(PY) -m ruff check --fix heavytail tests .ci setup.py

clean:
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache .hypothesis

comma := ,
