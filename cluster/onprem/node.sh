# Runs on a host, sent there by start.sh, stop.sh and status.sh: bash -s -- ENV STATE VERB ARG...
# shellcheck shell=bash
set -euo pipefail

cd
env_folder="$1" state="$2" verb="$3"
shift 3
case "$env_folder" in /*) ;; *) env_folder="$HOME/$env_folder" ;; esac
case "$state" in /*) ;; *) state="$HOME/$state" ;; esac
# Ray starts its parts with the python and the ray that it finds.
export PATH="$env_folder/bin:$PATH"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$state/token" RAY_USAGE_STATS_ENABLED=0

# The process that start left, where it still is that one and not another of the same number.
running() {
    [ -r "$state/ray.pid" ] || return 1
    pid="$(cat "$state/ray.pid")"
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q -- ' start .*--block'
}

case "$verb" in
    versions)
        [ -x "$env_folder/bin/ray" ] || {
            echo "no Ray in $env_folder"
            exit 1
        }
        "$env_folder/bin/python" -c 'import platform
from importlib.metadata import version
print("Ray", version("ray"), "Python", platform.python_version(), "noprop-dist", version("noprop-dist"))'
        ;;
    address)
        hostname -I | cut -d ' ' -f 1
        ;;
    start)
        if running; then
            echo "runs already, as process $pid"
            exit 0
        fi
        # A session of its own: it outlives this connection, and stop can end all of it at once.
        # The process id is written by the one that becomes Ray.
        # shellcheck disable=SC2016
        setsid bash -c 'echo $$ >"$0/ray.pid"; exec ray start --block --disable-usage-stats "$@"' \
            "$state" "$@" </dev/null >"$state/ray.log" 2>&1 &
        for _ in $(seq 120); do
            sleep 0.5
            grep -q "Ray runtime started" "$state/ray.log" && break
            kill -0 "$!" 2>/dev/null || break
        done
        if ! running || ! grep -q "Ray runtime started" "$state/ray.log"; then
            tail -n 20 "$state/ray.log"
            exit 1
        fi
        echo "started, as process $pid; its log is $state/ray.log"
        ;;
    nodes)
        python -c 'import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="error")
print(sum(node["Alive"] for node in ray.nodes()))' "$1" 2>/dev/null || echo 0
        ;;
    stop)
        running || {
            rm -f "$state/ray.pid"
            echo "does not run"
            exit 0
        }
        # Ray ends its parts and they their workers; what has not ended by then is killed.
        kill -TERM "$pid"
        for _ in $(seq 60); do
            running || break
            sleep 0.5
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
        rm -f "$state/ray.pid"
        echo "stopped"
        ;;
    status)
        if running; then
            echo "runs, as process $pid"
        else
            echo "does not run"
        fi
        ;;
    summary)
        running && ray status --address "$1"
        ;;
    *)
        echo "unknown: $verb" >&2
        exit 2
        ;;
esac
