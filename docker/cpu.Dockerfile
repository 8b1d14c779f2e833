# vidseg on CPUs:  docker build -f docker/cpu.Dockerfile -t vidseg:cpu .
#                  docker run --rm -v "$PWD:/data" vidseg:cpu track video.mp4 --prompt box.json --out runs/video
FROM python:3.12-slim

# The probes of KubeRay call wget.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home vidseg

# PyTorch's own index has wheels without CUDA, a tenth the size.
COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY vidseg /src/vidseg
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[ray,s3]" \
    --extra-index-url https://download.pytorch.org/whl/cpu

USER 1000
WORKDIR /data
ENTRYPOINT ["vidseg"]
