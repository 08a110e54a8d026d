#!/bin/sh
# Starts HAProxy for Ray Serve (RAY_SERVE_HAPROXY_BINARY_PATH), after a change of the configuration that Serve wrote:
# its template has neither an address for metrics and statistics, nor TLS.
#   KAIROS_HAPROXY          the real program
#   KAIROS_HAPROXY_ADDRESS  metrics and statistics listen on this address; empty: on all interfaces
#   KAIROS_HAPROXY_CERT     PEM file of the gRPC ingress's certificate, with its key beside it as FILE.key; empty: no TLS
#   KAIROS_HAPROXY_CA       PEM file of the authority of its callers, which then need a certificate; empty: they need none
set -eu
if [ "${1:-}" = -db ] && [ "${2:-}" = -f ]; then
    config=$3
    tls=${KAIROS_HAPROXY_CERT:+" ssl crt $KAIROS_HAPROXY_CERT alpn h2 ssl-min-ver TLSv1.2"}
    tls=$tls${KAIROS_HAPROXY_CERT:+${KAIROS_HAPROXY_CA:+" ca-file $KAIROS_HAPROXY_CA verify required"}}
    sed -E \
        -e "s|^( *bind )\*?:([0-9]+)\$|\1${KAIROS_HAPROXY_ADDRESS:-*}:\2|" \
        -e "s|^( *bind .*) proto h2\$|\1${tls:- proto h2}|" \
        "$config" > "$config.kairos"
    shift 3
    set -- -db -f "$config.kairos" "$@"
fi
exec "$KAIROS_HAPROXY" "$@"
