# Sourced by bin/trio-broker, bin/test and others, with `root` set to the checkout. POSIX sh, and no Python while nothing
# has changed: `installed run` and `installed dev` cost one process.

venv=$root/.venv

# What $venv was made from: where it lies (a moved one has wrong paths inside) and what it was told to install.
stamp() {
    printf '%s\n' "$root"
    (cd -- "$root" && cksum pyproject.toml tests/constraints.txt)
}

find_python() {
    for python in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    echo "trio-broker: needs Python 3.11 or newer, and found none as python3 or python3.11 to python3.14 in PATH;" \
        "install one, or name it: PYTHON=/path/to/python3.11 $0" >&2
    exit 1
}

# installed run|dev: comes back when $venv has the project as it is now (dev: and what its tests need), or ends.
installed() {
    want=$(stamp)
    have=
    if [ -x "$venv/bin/python" ] && [ -r "$venv/stamp-$1" ]; then
        have=$(cat -- "$venv/stamp-$1")
    fi
    if [ "$have" != "$want" ]; then
        find_python
        TRIO_BROKER_VENV=${venv##*/} "$python" "$root/bin/install.py" "$1" "$want"
    fi
}

# run_tests [pytest's arguments]: without arguments, all of them
run_tests() {
    cd -- "$root"
    if [ $# -eq 0 ]; then # most of them wait for processes; chosen ones run in one process, where -s and --pdb work
        set -- -n "$(($(getconf _NPROCESSORS_ONLN) + 1))" --dist worksteal
    fi
    exec "$venv/bin/python" -m pytest "$@"
}
