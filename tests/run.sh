#!/usr/bin/env bash
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the tests, cheapest first, and stop at the first that fails.
#
#   tests/run.sh               all of them but the slower ones
#   tests/run.sh network       links and what goes over them: cables, shaping, DHCP, shared directories
#   tests/run.sh kinds         nodes of all kinds: processes, machines with a whole Debian, a platform of one's own
#   tests/run.sh hosts         experiments over three hosts
#   tests/run.sh lint          the linters
#   tests/run.sh unit sanity   these steps
set -euo pipefail
cd "$(dirname "$0")/.."

lint=(ruff format mypy yamllint shellcheck licences ansible-lint)
all=("${lint[@]}" unit fuzz docs changelog build sanity prepare molecule end-to-end)
network=(prepare links)
kinds=(prepare-kinds prepare-hosts all-kinds)
hosts=(prepare prepare-hosts many-hosts)

export PATH="$PWD/.venv/bin:$PATH"
export ANSIBLE_CONFIG="$PWD/ansible.cfg"
export LC_ALL=C.UTF-8
[[ -t 1 ]] || export NO_COLOR=1
export REUSE_ENCODING_MODULE=charset_normalizer # the other choices need a library of the host

as_root() {
    if ((EUID == 0)); then "$@"; else sudo env PATH="$PATH" ANSIBLE_CONFIG="$ANSIBLE_CONFIG" LC_ALL="$LC_ALL" "$@"; fi
}

shell_scripts() {
    git ls-files --cached --others --exclude-standard -z '*.sh'
    git grep --untracked -lzE '^#!(/usr)?/bin/(env )?(ba|da)?sh' -- ':!*.sh' ':!*.md'
}

step_ruff() { ruff check; }
step_format() { ruff format --check; }
step_mypy() { mypy; }
step_yamllint() { yamllint --strict .; }
step_shellcheck() { shell_scripts | xargs -0 shellcheck; }
step_licences() { reuse lint --quiet || reuse lint --lines; }
step_ansible-lint() { ansible-lint --offline; }
step_unit() { python -m pytest; }
step_fuzz() { python -B -m tests.fuzz --inputs 80000; } # about a minute; the same inputs each time
step_docs() { antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .; }
step_changelog() { antsibull-changelog lint; }
step_build() { tests/build.sh; }
step_sanity() { tests/ansible_test.sh sanity; }

# What the others run on is fetched by these three: the others have no way to the package mirrors.
step_prepare() { as_root ansible-playbook tests/integration/prepare.yml; }
step_prepare-kinds() { as_root ansible-playbook tests/kinds/prepare.yml; }
step_prepare-hosts() { as_root python -B -m tests.hosts.root; }

# The scenarios make bridges and addresses: in a network of their own, nothing of it meets the host's.
step_molecule() { as_root unshare --net --mount sh -c 'mount -t sysfs sysfs /sys && ip link set lo up && exec molecule test --all'; }

# These make their own network namespaces.
step_end-to-end() { as_root python -B -m pytest -p no:cacheprovider --durations=12 -m 'not network' tests/integration; }
step_links() { as_root python -B -m pytest -p no:cacheprovider --durations=12 -m network tests/integration; }

# The same, with nodes of other kinds.
step_all-kinds() { as_root python -B -m pytest -p no:cacheprovider tests/kinds; }

# Three hosts with systemd and sshd, on a network of their own, driven over ssh.
step_many-hosts() { as_root python -B -m pytest -p no:cacheprovider tests/hosts; }

# Where nobody watches, often the end of the output is all that is kept: the reasons of a failure are said again there.
watched() {
    local log=tests/output/$1.log status
    if [[ -t 1 ]]; then
        "step_$1"
        return
    fi
    mkdir -p tests/output
    set +e
    (
        set -e
        "step_$1"
    ) 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    set -e
    ((status)) || return 0
    printf '=== from the output of %s\n' "$1"
    grep -E '^E  |fatal:|FAILED|\[ERROR\]|[Ee]rror:|^FAIL' "$log" | cut -c 1-400 | tail -n 30
    return "$status"
}

run() {
    local name=$1 started=$SECONDS status=0
    printf '\n=== %s\n' "$name"
    set +e
    (
        set -e
        watched "$name"
    )
    status=$?
    set -e
    if ((status != 0)); then
        printf '=== %s FAILED after %d s (exit code %d)\n' "$name" $((SECONDS - started)) "$status"
        exit "$status"
    fi
    printf '=== %s passed in %d s\n' "$name" $((SECONDS - started))
}

steps=()
for word in "${@:-all}"; do
    case $word in
        all) steps+=("${all[@]}") ;;
        lint) steps+=("${lint[@]}") ;;
        hosts) steps+=("${hosts[@]}") ;;
        network) steps+=("${network[@]}") ;;
        kinds) steps+=("${kinds[@]}") ;;
        *)
            if ! declare -F "step_$word" >/dev/null; then
                echo "tests: no step is called $word; there are: lint network kinds hosts ${all[*]} ${network[*]:1} ${kinds[*]} ${hosts[*]:2}" >&2
                exit 2
            fi
            steps+=("$word")
            ;;
    esac
done
for step in "${steps[@]}"; do run "$step"; done
printf '\n=== all %d steps passed in %d s\n' "${#steps[@]}" "$SECONDS"
