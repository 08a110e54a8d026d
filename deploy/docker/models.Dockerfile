# Models that a shop trained, for the component trained-models: only files, and a `cp` that copies them.
# docker build -f deploy/docker/models.Dockerfile -t kairos/models:3 var/models/search/…
# The build context has two folders: `encoder`, written by training, and `exported`, written by
# `python -m services.query_encoder.adapters.onnx_export encoder exported`.
FROM busybox:1.37.0
COPY encoder /models/encoder
COPY exported /models/exported
USER 10001:10001
