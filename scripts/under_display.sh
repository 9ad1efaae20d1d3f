#!/usr/bin/env bash
# Run a command under a display: the one there is, or an Xvfb of its own that ends with it.
# The exit status is the command's. Unlike xvfb-run, two of these never choose the same display.
set -euo pipefail

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi

number=$(mktemp)
Xvfb -displayfd 3 -screen 0 1600x1000x24 +extension GLX -nolisten tcp -noreset 3>"$number" 2>/dev/null </dev/null &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$number"' EXIT
for _ in $(seq 100); do
    [ -s "$number" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ ! -s "$number" ]; then
    echo "Xvfb does not start; run scripts/system_libraries.sh" >&2
    exit 1
fi

status=0
DISPLAY=":$(cat "$number")" QT_QPA_PLATFORM=xcb "$@" || status=$?
exit "$status"
