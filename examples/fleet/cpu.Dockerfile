# A station on x86-64 or aarch64 without a GPU: docker build -f examples/fleet/cpu.Dockerfile -t edgead:cpu .
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sdk sdk
COPY calibration calibration
COPY tools tools
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[line,openvino,updates]"
RUN useradd --system --create-home --home-dir /var/lib/edgead edgead && install -d -o edgead -g edgead /var/cache/edgead
USER edgead
WORKDIR /var/lib/edgead
ENV STATE_DIRECTORY=/var/lib/edgead CACHE_DIRECTORY=/var/cache/edgead PYTHONUNBUFFERED=1
ENTRYPOINT ["edgead"]
CMD ["doctor"]
