#!/bin/sh
# Writes users and configuration from what is mounted, then becomes the server. For any POSIX shell: the image is
# that of Redis or of Valkey.
set -eu
umask 077

# What an earlier process of this pod was asked does not concern this one.
rm -f /run/lighthouse/stop /run/lighthouse/stopped

# Passwords are read by a builtin and written as digests: none is an argument or in the environment.
digests() {
    while IFS= read -r password || [ -n "$password" ]; do
        [ -z "$password" ] || printf ' #%s' "$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)"
    done < "/etc/lighthouse/redis-users/$1"
}
while read -r word name rules; do
    if [ "$name" = default ]; then
        printf '%s %s %s\n' "$word" "$name" "$rules"
    else
        printf '%s %s %s%s\n' "$word" "$name" "$rules" "$(digests "$name")"
    fi
done < /etc/lighthouse/redis/users.acl > /run/redis/users.acl

IFS= read -r password < /etc/lighthouse/redis-users/replication || [ -n "$password" ]
{
    cat /etc/lighthouse/redis/redis.conf
    # In the file, as a word of the command line could be seen by every process.
    printf 'masterauth "%s"\n' "$password"
    printf 'syslog-ident "%s"\n' "$NODE_NAME"
    if [ "$LIGHTHOUSE_REDIS_MODE" = cluster ]; then
        printf 'cluster-announce-ip %s\n' "$POD_IP"
        printf 'cluster-announce-hostname %s.%s\n' "$POD_NAME" "$LIGHTHOUSE_REDIS_DOMAIN"
    fi
} > /run/redis/redis.conf

for server in redis-server valkey-server; do
    if command -v "$server" > /dev/null; then
        exec "$server" /run/redis/redis.conf
    fi
done
echo "error: the image has neither redis-server nor valkey-server; set redis.image to one of Redis or Valkey." >&2
exit 1
