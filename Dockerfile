# The image of heraci's GitHub Action, and of `docker run … compile` anywhere else.
#
# On another base (a mirror, a newer Python, one with your company's certificates), which needs
# Debian's layout and Python 3.11 or newer with venv and ensurepip:
#   docker build --build-arg PYTHON_IMAGE=registry.example.org/python:3.12-slim -t heraci .
#
# No USER: the runner starts every action as root, and its files belong to others. heraci drops to
# a uid of its own for each experiment that it compiles. No WORKDIR: the runner sets it.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim-trixie@sha256:57cd7c3a7a273101a6485ba99423ee568157882804b1124b4dd04266317710de

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY constraints.txt pyproject.toml ./
# uv itself by the hash that constraints.txt has for it; then uv checks the hash of all the others.
RUN sed -n '/^uv==/,/[^\\]$/p' constraints.txt > uv.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes -r uv.txt \
    && python -m venv --without-pip /opt/heraci \
    && /opt/build/bin/uv pip install --quiet --python /opt/build --constraints constraints.txt hatchling \
    && /opt/build/bin/uv pip install --quiet --python /opt/heraci --constraints constraints.txt \
        --compile-bytecode --link-mode copy --requirements pyproject.toml
COPY README.md LICENSE ./
COPY heraci heraci
RUN /opt/build/bin/uv build --quiet --wheel --python /opt/build --no-build-isolation --out-dir dist . \
    && /opt/build/bin/uv pip install --quiet --python /opt/heraci --no-deps --compile-bytecode \
        --link-mode copy dist/*.whl

FROM ${PYTHON_IMAGE}
# Not pinned: the base is pinned by digest, and what Debian repairs in Git should come in.
# hadolint ignore=DL3008
RUN if ! command -v git > /dev/null || [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends ca-certificates git \
        && rm -rf /var/lib/apt/lists/*; \
    fi
# For `docker run` by hand: a home with a cache that the uids of experiments may enter, as root's own
# is closed. The runner brings its own.
RUN install -d -m 755 /home/heraci
ENV HOME=/home/heraci
COPY --from=build /opt/heraci /opt/heraci

ARG SOURCE=https://github.com/VCityTeam/heraci
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heraci" \
    org.opencontainers.image.description="GitOps for numerical experiments written in Python with Hera" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# An exec form, as shells drop variables whose names have a dash (INPUT_GITHUB-TOKEN). -I, so that
# neither the workspace nor a PYTHON* variable of the job decides what is imported; -u, so that the
# order of lines in the log is the order in which they were written.
ENTRYPOINT ["/opt/heraci/bin/python", "-IBu", "-m", "heraci"]
CMD ["action"]
