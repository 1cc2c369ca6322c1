# Everything sets itself up: the first target that needs it makes .venv from the pinned requirements.
#   make setup      .venv alone, for the commands of the README
#   make demo       train, sample and measure a model of real handwritten digits (minutes on two cores)
#   make test       the tests of the rooms and of the programs;  make test-slow: kills, several processes, Slurm, a
#                   browser, every command of the documentation;  make test-all: both
#   make tensorboard  the curves and samples of all runs below RUNS (by default runs/), at http://localhost:6006
#   make test-plan  what is compiled for TPUs and GPUs, of which none is needed (1.5 GB installed);  tests/slow skips it
#   make check      formatting, lint, types
#   make docs       the documentation, into site/; warnings are errors

PYTHON ?= python3
BIN := .venv/bin
SHARED = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
WORKERS := 2
DEMO := runs/demo
DEMO_CONFIG := configs/subvp/digits_ddpmpp_continuous.py

# $(call install,FILE): installs a file of requirements, and says every ten seconds how much there is. An environment
# that is new and could not be completed is removed.
define install
new=; [ -x $(BIN)/pip ] || new=.venv; \
( while sleep 10 >/dev/null 2>&1; do echo "   ... `du -sm .venv | cut -f1` MB are in .venv"; done ) & beat=$$!; \
trap 'kill $$beat 2>/dev/null; rm -rf $$new; exit 130' INT TERM; \
[ -z "$$new" ] || $(PYTHON) -m venv .venv || { kill $$beat; rm -rf $$new; \
	echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }; \
$(BIN)/pip install --quiet --disable-pip-version-check -r $(1); code=$$?; kill $$beat; \
[ $$code = 0 ] || { rm -rf $$new; echo "error: pip could not install $(1); its reason is above" >&2; exit 2; }
endef

TENSORBOARD := tensorboard==2.21.0
RUNS ?= runs

.PHONY: setup demo tensorboard test test-unit test-programs test-slow test-plan test-all check docs clean

setup: .venv/.run

demo: .venv/.run
	@echo "== Training a sub-VP DDPM++ on 1,497 handwritten digits; stop it and start again as you like."
	$(BIN)/python main.py --config=$(DEMO_CONFIG) --workdir=$(DEMO) --mode=train
	@echo "== Training a classifier, by whose features samples are compared with digits."
	$(BIN)/python main.py --config=configs/subvp/digits_classifier.py --workdir=$(DEMO)_classifier --mode=train
	@echo "== Measuring the model: bits/dim of the 300 test digits, 600 samples against the training digits."
	$(BIN)/python main.py --config=$(DEMO_CONFIG) --workdir=$(DEMO) --mode=eval --config.eval.num_samples=600 \
		--config.eval.enable_metrics --config.eval.classifier_workdir=$(DEMO)_classifier
	@echo "== Done. What to do next:"
	@echo "   look at the results      $(DEMO)/eval/report.html, in a browser"
	@echo "   sample in 20 steps       $(BIN)/python main.py --workdir=$(DEMO) --mode=sample --num_samples=64 \\"
	@echo "                              --config.sampling.method=solver --config.sampling.solver=unipc_3 \\"
	@echo "                              --config.sampling.num_steps=20 --config.sampling.grid=log_snr"
	@echo "   train on your images     $(BIN)/python main.py --config=configs/subvp/pictures_ddpmpp_continuous.py \\"
	@echo "                              --workdir=runs/mine --mode=train --config.data.dataset=folder:PATH"
	@echo "   read on                  README.md, docs/tutorial.md; make docs builds the documentation into site/"

# TensorBoard only reads what training and evaluation have written: it is installed when it is first asked for.
tensorboard: .venv/.run
	@test -x $(BIN)/tensorboard || $(BIN)/pip install --quiet --disable-pip-version-check $(TENSORBOARD)
	$(BIN)/tensorboard --logdir=$(RUNS)

test: test-programs test-unit

test-all: test test-slow

test-unit: .venv/.dev
	$(BIN)/python -m pytest $(SHARED) tests/unit

# Programs take long to compile and run a few steps: half of the time to compile them is XLA's newer emitter of fused
# loops, which is left out. The tests of the rooms are compiled as users have it.
test-slow: WORKERS := 3 # some of its tests wait
test-programs test-slow: test-%: .venv/.dev
	XLA_FLAGS="$(XLA_FLAGS) --xla_cpu_use_fusion_emitters=false" $(BIN)/python -m pytest $(SHARED) tests/$*

# The compilers for TPUs and GPUs lie apart from the environment: other programs are tested as they are without them.
test-plan: .venv/.dev .venv/.plan
	PYTHONPATH=.venv/plan $(BIN)/python -m pytest tests/slow/test_accelerators.py

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/.run: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is" \
		"`$(PYTHON) --version 2>&1`, but Python 3.11 or newer is needed; give one, as in: make setup PYTHON=python3.12" >&2; exit 2; }
	@echo "== Setting up .venv with `$(PYTHON) --version` and requirements.txt (1.2 GB, about a minute)."
	@$(call install,requirements.txt)
	@touch $@

.venv/.dev: requirements-dev.txt .venv/.run
	@echo "== Adding what the tests need."
	@$(call install,requirements-dev.txt)
	@touch $@

.venv/.plan: requirements-plan.txt requirements-plan-gpu.txt .venv/.run
	rm -rf .venv/plan
	$(BIN)/pip install --quiet --disable-pip-version-check --target .venv/plan -r requirements-plan.txt \
		-r requirements-plan-gpu.txt
	@touch $@

clean:
	rm -rf .venv .cache runs site
