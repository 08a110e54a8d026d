# A new backup in the bucket, named for the minute. How many are kept is a matter of the bucket's life cycle rules.
set -eu
# The bucket shows a certificate of the usual authorities, Qdrant one of its own.
if [ -e /etc/kairos/qdrant/ca.crt ]; then
  cat /etc/ssl/certs/ca-certificates.crt /etc/kairos/qdrant/ca.crt > /tmp/authorities.crt
  export SSL_CERT_FILE=/tmp/authorities.crt
fi
exec kairos backup "s3://$BUCKET/kairos/$(date -u +%Y-%m-%dT%H-%M)"
