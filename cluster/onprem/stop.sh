#!/usr/bin/env bash
# Ends what start.sh started, and no other Ray on those machines: stop.sh [HOSTS_FILE]
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_hosts "${1:-$HERE/hosts}"
bad=0
# The head last: a node without one waits for it before it ends.
for ((index = ${#HOSTS[@]} - 1; index >= 0; index--)); do
    host="${HOSTS[$index]}"
    said="$(node "$host" stop)" || bad=1
    echo "$host: ${said:-cannot be reached}"
done
exit "$bad"
