# syntax=docker/dockerfile:1
# The image that takes keruta-agent's place in an init container.
# BASE: any Debian or Ubuntu with Python 3.11 or newer and its venv module.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
# A pip.conf of your own (a private index, a proxy) is given with --secret id=pip.conf,src=FILE; it is not kept.
# Bytecode that is never checked against its source stays valid where a registry or a builder changes time stamps.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/kerutaprep \
 && /opt/kerutaprep/bin/pip install --no-cache-dir --no-compile . \
 && /opt/kerutaprep/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/kerutaprep -depth \( -name tests -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) \
      -exec rm -r {} + \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kerutaprep

FROM ${BASE}
# Manuals, translations and Perl's library (47 MB; nothing that a work directory needs of git is written in Perl) are
# left out while git is installed, and only then: whatever an image built on this one installs is whole.
# Official Python images come without the standard library's bytecode, which would cost every start 100 ms and more.
RUN export DEBIAN_FRONTEND=noninteractive \
 && printf 'path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/perl/*' \
      '/usr/share/perl5/*' '/usr/lib/*/perl/*' '/usr/lib/*/libperl.so*' > /etc/dpkg/dpkg.cfg.d/kerutaprep \
 && apt-get update -q \
 && apt-get install -q -y --no-install-recommends \
      ca-certificates git git-lfs libnss-unknown libnss-wrapper openssh-client \
 && apt-get clean \
 && rm -rf /etc/dpkg/dpkg.cfg.d/kerutaprep /var/lib/apt/lists/* /var/log/* /var/cache/debconf/*-old \
 && sed -i '/^[a-z]*:/ s/ unknown$//' /etc/nsswitch.conf \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/(ensurepip|idlelib|lib2to3|site-packages|dist-packages|test|tests|tkinter|turtledemo)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && mkdir -p /home/keruta /work \
 && chmod g+rwX /home/keruta /work
COPY image/ssh /usr/local/bin/ssh
COPY --from=build /opt/kerutaprep /opt/kerutaprep
# Written by nobody: the image runs with a read-only root file system and as any user id.
ENV PATH=/opt/kerutaprep/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/keruta \
    PYTHONDONTWRITEBYTECODE=1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kerutaprep" \
      org.opencontainers.image.description="Gets a Keruta task's work directory ready" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /work
USER 10001:0
ENTRYPOINT ["keruta-agent"]
CMD ["init"]
