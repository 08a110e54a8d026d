# A new backup in the bucket, named after the minute. Life cycle rules of the bucket limit their number.
set -eu
# The bucket has a certificate of a public authority, Qdrant one of its own authority.
if [ -e /etc/kairos/qdrant/ca.crt ]; then
  cat /etc/ssl/certs/ca-certificates.crt /etc/kairos/qdrant/ca.crt > /tmp/authorities.crt
  export SSL_CERT_FILE=/tmp/authorities.crt
fi
exec kairos backup "s3://$BUCKET/kairos/$(date -u +%Y-%m-%dT%H-%M)"
