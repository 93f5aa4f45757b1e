# Sourced by the other scripts: `setup` makes .venv in the project's root and installs the package into it.
#
# A stamp, written last, holds the checksum of pyproject.toml: an interrupted set-up is repeated, and one that is up to date
# costs a checksum. METARL_RUN_TORCH is the torch version to install where there is none, METARL_RUN_PYTHON the interpreter
# to create .venv with.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
python="$venv/bin/python"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
    printf 'error: set-up: %s\n' "$1" >&2
    exit 5
}

checksum() {
    { printf '%s\n' "$root"; cat "$root/pyproject.toml"; } | cksum
}

is_done() { # does a stamp cover the extra? A set-up with the extra `dev` also covers none
    local stamp
    for stamp in "$venv/.metarl-run-installed-$1" "$venv/.metarl-run-installed-dev"; do
        [[ -x "$venv/bin/metarl-run" && -f "$stamp" && "$(cat "$stamp")" == "$(checksum)" ]] && return 0
    done
    return 1
}

suitable_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python)
    for candidate in ${METARL_RUN_PYTHON:+"$METARL_RUN_PYTHON"} "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

logged() { # run a command and show its output only if it fails
    "$@" >>"$root/.setup.log" 2>&1 || {
        tail -n 30 "$root/.setup.log" >&2
        fail "'${*: -3}' failed; the whole output is in $root/.setup.log"
    }
}

make_venv() {
    local base
    base="$(suitable_python)" || fail "Python 3.11 or newer was not found; set METARL_RUN_PYTHON to one"
    "$base" -m venv --clear "$venv" >>"$root/.setup.log" 2>&1 && return 0
    # Debian's python3 comes without ensurepip; an outside pip can install one
    logged "$base" -m venv --clear --without-pip "$venv"
    logged "$base" -m pip --python "$python" install --quiet pip
}

install() {
    local extra="$1"
    printf 'Setting up .venv (a few minutes the first time) ...\n' >&2
    : >"$root/.setup.log"
    rm -f "$venv"/.metarl-run-installed-* # the environment is invalid until the new stamp is written
    "$python" -m pip --version >/dev/null 2>&1 || make_venv
    # Wheels install metadata last, so an interrupted torch installation has none
    if ! "$python" -c 'import importlib.metadata as m, torch; m.version("torch")' >/dev/null 2>&1; then
        logged "$python" -m pip install --quiet "torch==${METARL_RUN_TORCH:-2.13.0}"
    fi
    logged "$python" -m pip install --quiet --editable "$root${extra:+[$extra]}"
    checksum >"$venv/.metarl-run-installed-$extra.new"
    mv "$venv/.metarl-run-installed-$extra.new" "$venv/.metarl-run-installed-$extra"
    rm -f "$root/.setup.log"
}

setup() { # $1: an extra of the package, or nothing
    local extra="${1:-}"
    is_done "$extra" && return 0
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$root/.setup.lock"
        flock 9
        is_done "$extra" || install "$extra"
        exec 9>&- # the run itself must not hold the lock
    else
        install "$extra"
    fi
}
