# Two images from one file:  docker build --target api .   and   docker build --target worker .
# The API computes forecasts with NumPy and never imports torch or Numba; the worker brings both.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# --- what both have installed, in the versions that were tested; wheels only, so no compiler is needed -----------------
FROM ${PYTHON_IMAGE} AS packages
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ONLY_BINARY=:all: \
    PATH=/venv/bin:$PATH
RUN python3 -m venv /venv
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# Everything but torch and Numba, with what only deployments need: blobs in S3, traces.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*(d for d in p['dependencies'] + p['optional-dependencies']['production'] if d not in ('numba', 'torch')), sep='\n')" > api.txt \
    && pip install --constraint constraints.txt setuptools \
    && pip install --constraint constraints.txt --requirement api.txt

FROM packages AS api-packages
COPY . .
RUN pip install --no-deps --no-build-isolation .

FROM packages AS worker-packages
# The default index has torch with CUDA, several gigabytes, which GPU workers need. For the CPU build name an index that
# has it: --build-arg PIP_ARGS="--extra-index-url ..."
ARG PIP_ARGS=""
# hadolint ignore=SC2086
RUN pip install --constraint constraints.txt ${PIP_ARGS} numba torch
COPY . .
RUN pip install --no-deps --no-build-isolation .

# --- what runs: no package manager's cache, no sources, no root ---------------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="attractor" \
      org.opencontainers.image.description="Dynamical-system reconstruction as a service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: what is written goes to /data (to be kept) and /tmp.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/venv/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    ATTRACTOR_DATA_DIR=/data
# The first process to write decides who owns the volume: nobody but this user ever does.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp attractor \
    && install --directory --owner attractor --group attractor /data
WORKDIR /data
USER 10001:10001

FROM runtime AS api
COPY --from=api-packages /venv /venv
ENV ATTRACTOR_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["attractor", "api"]

FROM runtime AS worker
COPY --from=worker-packages /venv /venv
# Compiled kernels are kept beside the data, so that they survive the container.
ENV XDG_CACHE_HOME=/data/cache
# A worker of this container has lately been heard of by the database, and takes jobs.
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["attractor", "doctor", "--worker"]
CMD ["attractor", "worker"]
