# docker build --target cpu -t score-sde .            docker build --target cuda -t score-sde:cuda .
# docker run -v "$PWD/runs:/app/runs" score-sde --config=configs/subvp/digits_ddpmpp_continuous.py --workdir=runs/digits --mode=train
# docker run --gpus all -v "$PWD/runs:/app/runs" score-sde:cuda --config=... --workdir=runs/NAME --mode=train

FROM python:3.12-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements.txt ./
RUN pip install -r requirements.txt

FROM base AS cuda
# The CUDA libraries come from pip, in the version that requirements.txt pins for jax; the host needs the driver only.
RUN pip install "jax[cuda12]==$(python -c 'import jax; print(jax.__version__)')"
COPY . .
RUN useradd --create-home --uid 1000 user && mkdir -p runs && chown 1000 runs
USER 1000
ENTRYPOINT ["python", "main.py"]

FROM base AS cpu
ENV JAX_PLATFORMS=cpu
COPY . .
RUN useradd --create-home --uid 1000 user && mkdir -p runs && chown 1000 runs
USER 1000
ENTRYPOINT ["python", "main.py"]
