# Every target makes .venv first where it is missing, and again after pyproject.toml has changed.
#   make setup EXTRAS=all,dev        every domain's packages
#   make setup TORCH_INDEX=<url>     where plain pip would bring a CUDA build that you do not want:
#                                    the CPU wheel index that pytorch.org names

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
EXTRAS ?= music,rl,bullet,trajectory,image,diffusers,train,dev

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet
# It pins an old gymnasium and works with the new one, so it comes without what it asks for.
BULLET_GYM := bullet-safety-gym==1.4.0
BULLET := $(or $(findstring bullet,$(EXTRAS)),$(findstring all,$(EXTRAS)))
NOTEBOOKS := $(wildcard notebooks)

.PHONY: setup demo test check slow clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH) and guided[$(EXTRAS)] into $(VENV); the first time takes minutes"
	$(PIP) "$(TORCH)" $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")
	$(PIP) --editable ".[$(EXTRAS)]"
	$(if $(BULLET),$(PIP) --no-deps $(BULLET_GYM))
	touch $@

demo: $(STAMP)
	$(BIN)/guided-music demo --out demo

# Linters and types first, then tests, notebooks and command line runs in one pytest run, whose
# summary closes the output.
test: check
	SMOKE=1 $(BIN)/python -m pytest --nbmake --nbmake-timeout=300 tests $(NOTEBOOKS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow tests

clean:
	rm -rf $(VENV) demo runs build dist .pytest_cache .mypy_cache .ruff_cache
	find guided domains baselines tests -name __pycache__ -type d -prune -exec rm -rf {} +
