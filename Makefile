# All that a fresh machine needs is Python 3.11 or newer and make.
#
#   make demo    train a small image MAE on bundled photographs (four to seven minutes), see what it reconstructs
#   make demo-video, make demo-audio    the same for clips and sounds that it makes up
#   make test    run every test
#   make oldest-test    convert weights from and to the oldest transformers that is allowed
#   make s3-test    read and write shards in a bucket of an S3 server on this machine
#   make wheels-test    build the wheels and try them outside of the checkout
#   make docs    build the documentation into site/
#   make doc-tables    write the tables in docs/ again that are made from the code and the recipes
#   make mask-pictures    draw the pictures of docs/maskers.md again
#   make architecture-picture    draw the picture of docs/architecture.md again
#   make bench   measure all that fits this machine, for an hour or two, and write bench.md; PHOTOS=FOLDER for reading photographs
#   make check   format, lint, types, import rules
#   make fix     let the formatter and the linter mend what they can

PYTHON ?= python3
BIN := .venv/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
SOURCES := mae_core registry plugins tests bench docs/hooks.py docs/tables.py docs/mask_pictures.py docs/architecture_picture.py docs/examples .ci

.PHONY: demo demo-video demo-audio test oldest-test s3-test wheels-test docs doc-tables mask-pictures architecture-picture bench check fix clean

demo: .venv/installed
	$(BIN)/mae pretrain demo/image

demo-video demo-audio: demo-%: .venv/installed
	$(BIN)/mae pretrain demo/$*

test: .venv/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --durations 10

oldest-test: .venv/installed-for-tests
	$(BIN)/python -m pip install --quiet --upgrade --target .venv/oldest transformers==5.0.0
	PYTHONPATH=.venv/oldest $(BIN)/python -m pytest plugins/*/tests/test_hugging_face*.py tests/runs/test_convert.py

# In a folder of their own, since botocore needs an older python-dateutil than constraints.txt has.
s3-test: .venv/installed-for-tests
	$(BIN)/python -m pip install --quiet --upgrade --target .venv/s3 'moto[server]==5.2.5' s3fs==2026.9.0 aiobotocore==3.10.0
	PYTHONPATH=.venv/s3 $(BIN)/python -m pytest tests/cli/test_s3.py

wheels-test: .venv/installed-for-tests
	$(BIN)/python -m pytest .ci/test_wheels.py

# The variable silences an advertisement of the theme's authors.
docs: .venv/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

doc-tables: .venv/installed
	$(BIN)/python docs/tables.py

mask-pictures: .venv/installed
	$(BIN)/python docs/mask_pictures.py

architecture-picture: .venv/installed
	$(BIN)/python docs/architecture_picture.py

bench: .venv/installed-for-tests
	$(BIN)/python bench/run_all.py $(if $(PHOTOS),--photos $(PHOTOS))

check: .venv/installed-for-tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/basedpyright
	$(BIN)/basedpyright --project tests/pyrightconfig.json
	$(BIN)/python -m pytest -q tests/test_imports.py

fix: .venv/installed-for-tests
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf .venv site

# The build backend is installed first, from constraints.txt like everything else, so that no build fetches its own.
.venv/installed: pyproject.toml $(PLUGINS) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation \
		--editable . $(patsubst %/pyproject.toml,--editable %,$(PLUGINS))
	touch $@

.venv/installed-for-tests: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test]'
	touch $@

.venv/installed-for-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	touch $@
