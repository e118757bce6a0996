# Two images from one file:  docker build --target api .   and   docker build --target worker .
# The API computes forecasts with NumPy and never imports torch or Numba; the worker brings both.
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/venv/bin:$PATH \
    ATTRACTOR_DATA_DIR=/data
# The first process to write decides who owns the volume: nobody but this user ever does.
RUN useradd --system --uid 10001 --no-create-home attractor \
    && install --directory --owner attractor --group attractor /data \
    && python -m venv /venv
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# Everything but torch and Numba, in the versions that were tested; wheels only, so no compiler is needed.
RUN pip install --only-binary :all: --constraint constraints.txt setuptools \
    && python -c "import tomllib; print(*(d for d in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'] if d not in ('numba', 'torch')), sep='\n')" > api.txt \
    && pip install --only-binary :all: --constraint constraints.txt --requirement api.txt

FROM base AS api
COPY . .
RUN pip install --no-deps --no-build-isolation .
WORKDIR /data
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["uvicorn", "--factory", "api.app:create_app", "--host", "0.0.0.0", "--port", "8000", "--log-level", "warning"]

FROM base AS worker
# The default index has torch with CUDA, several gigabytes. For the CPU build name an index that has it:
# --build-arg PIP_ARGS="--extra-index-url ..."
ARG PIP_ARGS=""
# hadolint ignore=SC2086
RUN pip install --only-binary :all: --constraint constraints.txt ${PIP_ARGS} numba torch
COPY . .
# Compiled kernels are kept beside the data, so that they survive the container.
ENV XDG_CACHE_HOME=/data/cache
RUN pip install --no-deps --no-build-isolation .
WORKDIR /data
USER 10001
# The process itself is the worker; what can fail silently is its way to the database, or a schema that is not there yet.
HEALTHCHECK --interval=60s --timeout=20s --start-period=30s --retries=3 CMD ["attractor", "migrate", "--check"]
CMD ["attractor", "worker"]
