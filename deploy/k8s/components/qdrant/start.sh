# The first node starts a cluster, and the others join it. A node that has joined knows the others from its own files.
set -eu
domain=kairos-qdrant-nodes:6335
if [ "$HOSTNAME" = kairos-qdrant-0 ]; then
  exec ./entrypoint.sh --uri "https://$HOSTNAME.$domain"
fi
exec ./entrypoint.sh --uri "https://$HOSTNAME.$domain" --bootstrap "https://kairos-qdrant-0.$domain"
