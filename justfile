# What a change has to pass. The tools are those of .venv, which bin/test makes.

bin := justfile_directory() / ".venv" / "bin"

# flake8-async has more than ruff's ASYNC: all of it but 910, 911 and 912, which want a checkpoint on every path (a wait
# for what is already there needs none), 114, which wants a list of our startable functions, and other libraries' rules.
async := "ASYNC1,ASYNC2,ASYNC3,ASYNC4,ASYNC900,ASYNC913"

coverage := "/tmp/trio-broker-coverage"

_default:
    @just --list

# Format, lint, async rules, types, import table
check:
    {{bin}}/ruff format --check .
    {{bin}}/ruff check .
    find trio_broker tests -name '*.py' -print0 | xargs -0 -n 40 -P {{num_cpus()}} {{bin}}/flake8-async --enable={{async}} --disable=ASYNC114
    {{bin}}/mypy
    {{bin}}/python -m pytest -q tests/test_layers.py

# All tests, or those the arguments choose
test *args:
    bin/test {{args}}

# All tests on another Python, or those the arguments choose: `just test-on 3.13`; `newest`: one other than .venv's
[positional-arguments]
test-on version *args:
    bin/test-on "$@"

# This project and its peers side by side: `just bench --peers` once, then `just bench`; --short for a look
bench *args:
    bin/bench {{args}}

# All that needs no process: in virtual time, on two cores
fast *args:
    bin/test -n 2 --dist worksteal -m "not process and not slow and not node" {{args}}

# What the tests reach, with branches, processes of the daemon included; then what each module has to have
coverage:
    rm -rf {{coverage}} && mkdir -p {{coverage}}
    COVERAGE_FILE={{coverage}}/data bin/test -n 2 --dist worksteal -q -m "not slow and not node" --cov --cov-report=
    COVERAGE_FILE={{coverage}}/data {{bin}}/coverage report --skip-covered --sort=cover
    COVERAGE_FILE={{coverage}}/data {{bin}}/coverage json -q -o {{coverage}}/report.json
    {{bin}}/python tests/measured.py < {{coverage}}/report.json

# Format, and mend what can be mended
fmt:
    {{bin}}/ruff format .
    {{bin}}/ruff check --fix .
