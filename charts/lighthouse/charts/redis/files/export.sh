#!/bin/sh
# Runs the exporter, which reads its password only at its start, and starts it anew when the password has changed.
set -eu
umask 077
tls=/etc/lighthouse/redis-tls
# It reads certificates anew for each client, and for each time that it asks Redis.
if [ -n "${LIGHTHOUSE_METRICS_TLS_DIR:-}" ]; then
    set -- -tls-server-cert-file "$LIGHTHOUSE_METRICS_TLS_DIR/tls.crt" -tls-server-key-file "$LIGHTHOUSE_METRICS_TLS_DIR/tls.key"
fi
address=rediss://$POD_NAME.$LIGHTHOUSE_REDIS_DOMAIN:6379
exporter=
trap 'kill "$exporter" 2> /dev/null; exit 0' TERM INT
while :; do
    IFS= read -r password < /etc/lighthouse/redis-users/exporter || [ -n "$password" ]
    # The key as the exporter looks it up: with the user and without, as its versions differ.
    text=$(printf %s "$password" | sed 's/[\\"]/\\&/g')
    printf '{"%s": "%s", "%s": "%s"}' "$address" "$text" \
        "rediss://exporter@${address#rediss://}" "$text" > /run/exporter/passwords.json
    redis_exporter -redis.addr "$address" -redis.user exporter -redis.password-file /run/exporter/passwords.json \
        -tls-ca-cert-file "$tls/ca.crt" -tls-client-cert-file "$tls/tls.crt" -tls-client-key-file "$tls/tls.key" \
        -config-command - -web.listen-address :9121 "$@" &
    exporter=$!
    while kill -0 "$exporter" 2> /dev/null; do
        IFS= read -r latest < /etc/lighthouse/redis-users/exporter || [ -n "$latest" ]
        [ "$latest" = "$password" ] || kill "$exporter"
        sleep 2
    done
    wait "$exporter" || true
done
