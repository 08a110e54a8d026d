"""The manifests of deploy/k8s checked without a cluster. What is checked, and by which tool: docs/decisions/0016."""
