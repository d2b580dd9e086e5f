#!/bin/sh
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a host has of what experiments need: look.sh PACKAGE...
# One line for each: "package NAME", "group NAME", "account NAME:COMMENT:HOME:SHELL:PASSWORD:GROUPS".
# Looking is cheap here; each of Ansible's modules that make such things takes half a second to find that all is as it should be.

# Known packages that are not installed have lines as well; a name that nobody knows makes dpkg-query return 1.
if [ $# -gt 0 ]; then
    if ! command -v dpkg-query >/dev/null; then
        echo 'Packages can be installed on Debian and its kin alone: give vhost_packages and vhost_image_packages as [] elsewhere.' >&2
        exit 1
    fi
    found=$(dpkg-query --show --showformat 'package ${Package} ${db:Status-Status}\n' "$@") || [ $? -eq 1 ] || exit 2
    printf '%s\n' "$found" | sed -n 's/ installed$//p'
fi

getent group kvm | sed 's/^\([^:]*\):.*/group \1/'

for account in benito benito-node; do
    passwd=$(getent passwd "$account" | cut -d: -f1,5-7)
    [ -n "$passwd" ] || continue
    password=$(getent shadow "$account" | cut -d: -f2)
    # A password is nobody's business.
    [ "$password" = '*' ] || password=other
    printf 'account %s:%s:%s\n' "$passwd" "$password" "$(id -nG "$account")"
done
