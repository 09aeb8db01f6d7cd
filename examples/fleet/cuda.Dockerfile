# A station on x86-64 with an NVIDIA GPU: docker build -f examples/fleet/cuda.Dockerfile -t edgead:cuda .
# Run it with --gpus all; the image brings TensorRT 10.13 and CUDA 13.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sdk sdk
COPY calibration calibration
COPY tools tools
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM nvcr.io/nvidia/tensorrt:25.08-py3
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv python3-dev g++ gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    && rm -rf /var/lib/apt/lists/*
# the system's packages are seen: TensorRT's Python module comes with the image
RUN python3 -m venv --system-site-packages /opt/edgead
COPY --from=build /wheels /wheels
RUN /opt/edgead/bin/pip install --no-cache-dir "$(ls /wheels/*.whl)[line,tensorrt,updates]"
RUN useradd --system --create-home --home-dir /var/lib/edgead --groups video edgead && install -d -o edgead -g edgead /var/cache/edgead
USER edgead
WORKDIR /var/lib/edgead
ENV STATE_DIRECTORY=/var/lib/edgead CACHE_DIRECTORY=/var/cache/edgead PYTHONUNBUFFERED=1
ENTRYPOINT ["/opt/edgead/bin/edgead"]
CMD ["doctor"]
