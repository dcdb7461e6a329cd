# Each target sets up all it needs in .venv; nothing but the package index is reached.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-ci nightly check docs settings tensorboard clean

quickstart: $(VENV)/installed
	$(BIN)/python -m gpt_classifier classify "You have won a prize, call 0900 123 4567 to claim it" "See you at five, love"
	$(BIN)/python -m gpt_classifier fit --config configs/quickstart.yaml
	$(BIN)/python -m gpt_classifier test --config configs/quickstart.yaml
	$(BIN)/python -m gpt_classifier classify checkpoints/quickstart \
	  "You have been chosen to receive a £500 voucher, claim at www.claim-prize.example" \
	  "Can you pick up some milk on the way home?"
	@echo "the model: $$(ls -d checkpoints/quickstart/version_*/model | sort -V | tail -n 1)"

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto # a process on each core; each computes on one

test-ci: $(VENV)/installed-dev # of the nightly tests, those that .ci/run runs beside `make test`
	$(BIN)/python -m pytest -n auto -m "nightly and ci"

nightly: $(VENV)/installed-dev # all that `make test` leaves out, and properties with many examples
	$(BIN)/python -m pytest -n auto -m "nightly or hypothesis" --hypothesis-profile=nightly

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

settings: $(VENV)/installed-dev # after a change of a setting: what the command line knows before anything is imported
	$(BIN)/python tests/training/test_declared.py

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/mkdocs.yml
	@echo "the documentation: build/site/index.html"

tensorboard: $(VENV)/installed
	$(BIN)/tensorboard --logdir checkpoints

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
