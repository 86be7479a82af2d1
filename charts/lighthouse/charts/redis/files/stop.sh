#!/bin/sh
# Asks the guard to hand over and waits until it has, or for as long as it may take.
set -eu
left=$((LIGHTHOUSE_REDIS_HANDOVER_SECONDS + 3))
: > /run/lighthouse/stop
while [ ! -e /run/lighthouse/stopped ] && [ "$left" -gt 0 ]; do
    sleep 1
    left=$((left - 1))
done
