# vidseg on NVIDIA GPUs:  docker build -f docker/cuda.Dockerfile -t vidseg:cuda .
#                         docker run --rm --gpus all -v "$PWD:/data" vidseg:cuda track video.mp4 --prompt box.json
FROM python:3.12-slim

# The probes of KubeRay call wget, and Triton calls a C compiler for `compile=True`.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home vidseg

# PyTorch's wheels for Linux bring the libraries of CUDA; the driver is the host's.
COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY vidseg /src/vidseg
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[ray,s3]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER 1000
WORKDIR /data
ENTRYPOINT ["vidseg"]
