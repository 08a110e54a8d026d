# Models that a shop trained, for the component trained-models: files alone, and a `cp` to hand them over.
# Beside the folder: docker build -f deploy/docker/models.Dockerfile -t kairos/models:3 var/models/search/…
# with two folders in it: `encoder`, which training wrote, and `exported`, which
# `python -m services.query_encoder.adapters.onnx_export encoder exported` writes.
FROM busybox:1.37.0
COPY encoder /models/encoder
COPY exported /models/exported
USER 10001:10001
