#!/usr/bin/env bash
# Starts a Ray cluster on machines that ssh reaches: start.sh [HOSTS_FILE]
# docs/deploy.md tells what must be there before; common.sh has the variables.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

read_hosts "${1:-$HERE/hosts}"
head="${HOSTS[0]}"

# Ray joins no node of another version, and says so only much later.
wanted=""
bad=0
for host in "${HOSTS[@]}"; do
    found="$(node "$host" versions)" || {
        echo "$host: ${found:-cannot be reached}" >&2
        bad=1
        continue
    }
    wanted="${wanted:-$found}"
    echo "$host: $found"
    [ "$found" = "$wanted" ] || {
        echo "$host: $head has $wanted" >&2
        bad=1
    }
done
[ "$bad" = 0 ] || die "nothing was started: make the hosts alike first."

# Through standard input: arguments can be seen by everybody on a machine.
[ -s "$NOPROP_TOKEN" ] || (
    umask 077
    od -A n -N 32 -t x1 /dev/urandom | tr -d ' \n' >"$NOPROP_TOKEN"
)
for host in "${HOSTS[@]}"; do
    printf -v place '%q' "$NOPROP_STATE"
    remote "$host" "cd && umask 077 && mkdir -p $place && chmod 700 $place && rm -f $place/token && \
cat >$place/token" <"$NOPROP_TOKEN"
done

ip="${NOPROP_HEAD_IP:-$(node "$head" address)}"
address="$ip:$NOPROP_PORT"
for index in "${!HOSTS[@]}"; do
    host="${HOSTS[$index]}"
    read -r -a options <<<"${OPTIONS[$index]}"
    if [ "$index" = 0 ]; then
        where=(--head "--node-ip-address=$ip" "--port=$NOPROP_PORT" --dashboard-host=127.0.0.1
            "--dashboard-port=$NOPROP_DASHBOARD_PORT")
    else
        where=("--address=$address")
    fi
    said="$(node "$host" start "${where[@]}" "${options[@]}")" ||
        die "$host: $said
The others are left as they are: stop.sh ends them."
    echo "$host: $said"
done

for _ in $(seq 30); do
    alive="$(node "$head" nodes "$address")"
    [ "$alive" -ge "${#HOSTS[@]}" ] && break
    sleep 1
done
[ "$alive" -ge "${#HOSTS[@]}" ] ||
    die "$alive of ${#HOSTS[@]} nodes have joined: see $NOPROP_STATE/ray.log on the others."

cat <<END

$alive nodes are up. On $head:

    export RAY_ADDRESS=$address RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/$NOPROP_STATE/token

From here, with "ssh -L $NOPROP_DASHBOARD_PORT:127.0.0.1:$NOPROP_DASHBOARD_PORT $head" open:

    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$NOPROP_TOKEN
    ray job submit --address http://127.0.0.1:$NOPROP_DASHBOARD_PORT --working-dir . -- python jobs/train.py
END
