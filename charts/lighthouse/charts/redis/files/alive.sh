#!/bin/sh
# Alive is who answers, be it a refusal: this probe has no password. A server that loads its data answers too.
set -eu
tls=/etc/lighthouse/redis-tls
for client in redis-cli valkey-cli; do
    if command -v "$client" > /dev/null; then
        break
    fi
done
answer=$("$client" --tls --cacert "$tls/ca.crt" --cert "$tls/tls.crt" --key "$tls/tls.key" -h 127.0.0.1 ping 2>&1) || true
case $answer in
    PONG* | *NOAUTH* | *LOADING* | *MASTERDOWN*) ;;
    *)
        printf '%s\n' "$answer"
        exit 1
        ;;
esac
