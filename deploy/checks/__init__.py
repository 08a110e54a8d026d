"""The manifests of deploy/k8s checked without a cluster: built, held against their schemas, and against each other.

`python -m deploy.checks` checks every overlay and prints what is wrong, one line a problem.
"""
