# syntax=docker/dockerfile:1
# The image that takes keruta-agent's place in an init container.
# BASE: any Debian or Ubuntu with Python 3.11 or newer and its venv module.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/kerutaprep \
 && /opt/kerutaprep/bin/pip install --no-cache-dir --no-compile . \
 && /opt/kerutaprep/bin/pip uninstall --yes --quiet pip \
 && python3 -m compileall -q -j 0 /opt/kerutaprep

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
# Official Python images come without the standard library's bytecode, which would cost every start 100 ms and more.
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends ca-certificates git git-lfs openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && (python3 -m compileall -q -j 0 "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true) \
 && mkdir -p /home/keruta /work \
 && chgrp -R 0 /home/keruta /work \
 && chmod -R g+rwX /home/keruta /work
COPY --from=build /opt/kerutaprep /opt/kerutaprep
# Written by nobody: the image runs with a read-only root file system and as any user id.
ENV PATH=/opt/kerutaprep/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/keruta \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="kerutaprep" \
      org.opencontainers.image.description="Gets a Keruta task's work directory ready" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /work
USER 10001:0
ENTRYPOINT ["keruta-agent"]
CMD ["init"]
