#!/usr/bin/env bash
# Tells what of start.sh's cluster runs, and what Ray says of it: status.sh [HOSTS_FILE]
# Exit code 1 where a host's part does not run.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_hosts "${1:-$HERE/hosts}"
bad=0
for host in "${HOSTS[@]}"; do
    said="$(node "$host" status)" || true
    echo "$host: ${said:-cannot be reached}"
    [[ "$said" == runs* ]] || bad=1
done
ip="${NOPROP_HEAD_IP:-$(node "${HOSTS[0]}" address)}"
node "${HOSTS[0]}" summary "$ip:$NOPROP_PORT" || bad=1
exit "$bad"
