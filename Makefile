# One command each; every one sets up what it needs. Needs Python 3.11 or newer (with venv) and git.

PYTHON ?= python3
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0

UV   := .tools/bin/uv
RUN  := .venv/bin/python
DONE := .venv/installed
TIMED = @start=$$(date +%s); ($(1)); status=$$?; echo "make $@: $$(( $$(date +%s) - start )) s"; exit $$status

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(DONE): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(UV) || { $(PYTHON) -m venv .tools && .tools/bin/pip install --quiet uv; }
	@$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip sync --quiet --python $(RUN) requirements.lock
	@$(UV) pip install --quiet --python $(RUN) --no-deps --editable .
	@touch $@

book: $(DONE)  ## build the web pages into _build/html, from the stored notebooks
	$(call TIMED,.venv/bin/jupyter-book build . --warningiserror --nitpick --keep-going)

test: $(DONE)  ## run all tests, and every notebook against its stored outputs
	$(call TIMED,$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m pytest --nbval --nbval-current-env -n 2 --dist loadfile tests notebooks)

notebooks: $(DONE)  ## rebuild the chapters whose text changed
	$(call TIMED,$(RUN) -m tools.notebooks)

runtimes: $(DONE)  ## measure every chapter on one thread, for the table in the book
	$(call TIMED,$(RUN) -m tools.runtimes)

lab: $(DONE)  ## open the chapters in JupyterLab
	.venv/bin/jupyter lab notebooks

mutants: $(DONE)  ## try every single mutation of every solution on its exercise
	$(call TIMED,$(RUN) -m tests.exercises.mutants)

bench: $(DONE)  ## measure speed: metrics, operators, losses and networks against their peers
	$(call TIMED,for name in metrics operators training_step toytown startup; do $(RUN) -m benchmarks.$$name || exit 1; done)

repository: $(DONE)  ## make repository NAME=owner/name: set where the course lives
	$(RUN) -m tools.repository $(NAME)

lock: $(DONE)  ## pin the versions of everything anew
	$(UV) pip compile pyproject.toml --extra lab --extra practice --extra pretrained --group book --group test --universal \
	  --no-header --no-annotate --python-version 3.11 --upgrade --quiet -o requirements.lock

clean:  ## remove the environment and everything built
	rm -rf .venv .tools _build

.PHONY: help book test notebooks runtimes lab mutants bench repository lock clean
