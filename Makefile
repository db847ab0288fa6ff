PYTHON ?= python3
VENV   ?= .venv
SOURCE ?= digits
OUT    ?= runs/demo

.PHONY: demo test test-vision test-triton test-laplace format clean

# The main job on real images: make demo, or make demo SOURCE=path/to/images
demo: $(VENV)/ready
	$(VENV)/bin/orbitlens run $(SOURCE) --out $(OUT) $(if $(wildcard $(OUT)/config.json),--resume)

# Everything that CI checks.
test: $(VENV)/ready
	$(VENV)/bin/ruff check src tests benchmarks recipes conftest.py
	$(VENV)/bin/ruff format --check src tests benchmarks recipes conftest.py
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n 2 --dist worksteal
	sh tests/smoke_demo.sh $(VENV)/bin/orbitlens

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# torchvision and timm need the torch that they were compiled for. They get an environment of
# their own, with versions that match.
test-vision: .venv-vision/ready
	OMP_NUM_THREADS=1 .venv-vision/bin/python -m pytest -q -rs tests/models

.venv-vision/ready: pyproject.toml
	$(PYTHON) -m venv .venv-vision
	.venv-vision/bin/python -m pip install --quiet --upgrade pip
	.venv-vision/bin/python -m pip install --quiet torch==2.14.1 torchvision==0.29.1 \
	    --editable '.[dev,vision]'
	touch $@

# Torch for a CPU comes without Triton. Its interpreter runs the kernels where there is no GPU.
test-triton: .venv-triton/ready
	TRITON_INTERPRET=1 OMP_NUM_THREADS=1 .venv-triton/bin/python -m pytest -q -rs \
	    tests/kernels/test_choice.py

.venv-triton/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install --quiet --upgrade pip
	.venv-triton/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.venv-triton/bin/python -m pip install --quiet --constraint constraints.txt triton \
	    --editable '.[dev]'
	touch $@

# laplace-torch brings pre-release packages for curvature, and a torchvision that was compiled for
# another torch; nothing here needs the latter.
test-laplace: .venv-laplace/ready
	OMP_NUM_THREADS=1 .venv-laplace/bin/python -m pytest -q -rs \
	    tests/symmetry/relax/test_against_laplace.py

.venv-laplace/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-laplace
	.venv-laplace/bin/python -m pip install --quiet --upgrade pip
	.venv-laplace/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.venv-laplace/bin/python -m pip install --quiet --constraint constraints.txt \
	    laplace-torch==0.3 curvlinops-for-pytorch==3.0.1 backpack-for-pytorch==1.7.1 \
	    asdfghjkl==0.1a4 torchmetrics==1.9.0 --editable '.[dev]'
	.venv-laplace/bin/python -m pip uninstall --quiet --yes torchvision
	touch $@

format:
	$(VENV)/bin/ruff check --fix src tests benchmarks recipes conftest.py
	$(VENV)/bin/ruff format src tests benchmarks recipes conftest.py

clean:
	rm -rf .venv .venv-vision .venv-triton .venv-laplace runs
