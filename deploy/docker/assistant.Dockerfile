# The assistant. KubeRay gives the command.
# From the repository's root: docker build -f deploy/docker/assistant.Dockerfile -t kairos/assistant .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
ARG EXTRAS=assistant
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# What it needs, before its code: an edit of the code leaves these layers as they are.
COPY pyproject.toml constraints.txt deploy/docker/requirements.py ./
RUN python requirements.py "${EXTRAS}" > requirements.txt \
 && python -m venv /opt/kairos/venv \
 && /opt/kairos/venv/bin/pip install --constraint constraints.txt --requirement requirements.txt \
 && python -m venv /opt/sbom \
 && /opt/sbom/bin/pip install cyclonedx-bom==7.5.0
COPY . .
# The bill of materials, of exactly what is shipped; the tool that writes it stays behind.
RUN /opt/kairos/venv/bin/pip install --no-deps . \
 && /opt/sbom/bin/cyclonedx-py environment --output-file /opt/kairos/sbom.cdx.json /opt/kairos/venv

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
COPY --from=build /opt/kairos /opt/kairos
ENV PATH=/opt/kairos/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/kairos
# A number: Kubernetes cannot tell of a name that it is not root.
USER 10001:10001
