# Read by start.sh, stop.sh and status.sh: the hosts, and a command on one of them.
# shellcheck shell=bash

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# On every host, seen from its user's home directory unless absolute: the environment with Ray, and
# where the token, the process id and the log lie.
NOPROP_ENV="${NOPROP_ENV:-noprop-dist/.venv}"
NOPROP_STATE="${NOPROP_STATE:-.noprop-cluster}"
NOPROP_PORT="${NOPROP_PORT:-6379}"
NOPROP_DASHBOARD_PORT="${NOPROP_DASHBOARD_PORT:-8265}"
# Here: the token that the hosts get.
NOPROP_TOKEN="${NOPROP_TOKEN:-$HOME/.noprop-cluster-token}"

HOSTS=()    # user@host, the head first
OPTIONS=()  # of each, what it adds to ray start

die() {
    echo "$*" >&2
    exit 1
}

read_hosts() {
    local file="$1" host options
    [ -r "$file" ] || die "there is no file $file: copy $HERE/hosts.example and name your hosts."
    while read -r host options; do
        case "$host" in
            '' | '#'*) ;;
            -*) die "$file: $host is an option, not a host." ;;
            *)
                HOSTS+=("$host")
                OPTIONS+=("$options")
                ;;
        esac
    done <"$file"
    [ "${#HOSTS[@]}" -gt 0 ] || die "$file names no host."
}

# node HOST VERB ARG...: runs node.sh there, which travels with the call.
node() {
    local host="$1" words
    shift
    printf -v words '%q ' "$NOPROP_ENV" "$NOPROP_STATE" "$@"
    remote "$host" "bash -s -- $words" <"$HERE/node.sh"
}

remote() {
    local host="$1"
    shift
    ssh -o BatchMode=yes -o ConnectTimeout=10 "$host" "$@"
}
