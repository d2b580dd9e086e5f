#!/bin/sh
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a host has of what experiments need: look.sh ROOT PACKAGE...
# One line for each: "package NAME", "group NAME", "account NAME:COMMENT:HOME:SHELL:PASSWORD:GROUPS", and "stranger NAME: WHY" for an
# account or a group that bears the name of ours and is somebody else's, which nothing may be done to.
# Looking is cheap here; each of Ansible's modules that make such things takes half a second to find that all is as it should be.
root=$1
shift

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

# Ids of people begin here; those of systems end below.
people=$(sed -n 's/^[[:space:]]*UID_MIN[[:space:]][[:space:]]*\([0-9][0-9]*\).*/\1/p' "${LOGIN_DEFS:-/etc/login.defs}" 2>/dev/null)
people=${people:-1000}

# An account of ours has an id of a system, the comment and the home that the role gives it, no password, and its ids for itself.
why_stranger() { # NAME COMMENT HOME
    if entry=$(getent passwd "$1"); then
        password=$(getent shadow "$1" | cut -d: -f2)
        IFS=: read -r _ _ uid gid comment home _ <<LINE
$entry
LINE
        case $password in
            '*' | '!'*) ;;
            *) echo 'it has a password' && return ;;
        esac
        if [ "$uid" -eq 0 ] || [ "$uid" -ge "$people" ]; then
            echo "its id, $uid, is none of a system account" && return
        elif [ "$comment" != "$2" ]; then
            echo "its comment is not \"$2\"" && return
        elif [ "$home" != "$3" ] && [ "$home" != "$4" ]; then
            echo "its home is not $3" && return
        elif [ "$(getent passwd "$uid" | cut -d: -f1)" != "$1" ]; then
            echo "its id, $uid, belongs to another account as well" && return
        fi
    fi
    if entry=$(getent group "$1"); then
        IFS=: read -r _ _ number members <<LINE
$entry
LINE
        if [ -z "${uid:-}" ]; then
            echo 'there is a group of that name without the account'
        elif [ "$number" != "$gid" ]; then
            echo 'the group of that name is not its own'
        elif [ -n "$members" ] && [ "$members" != "$1" ]; then
            echo 'its group has other members'
        fi
    fi
}

account() { # NAME COMMENT HOME [FORMER HOME]
    uid='' gid=''
    why=$(why_stranger "$1" "$2" "$3" "${4:-$3}")
    if [ -n "$why" ]; then
        printf 'stranger %s: %s\n' "$1" "$why"
        return
    fi
    passwd=$(getent passwd "$1" | cut -d: -f1,5-7)
    [ -n "$passwd" ] || return 0
    password=$(getent shadow "$1" | cut -d: -f2)
    # A locked one is as good as none, but not as the role makes it.
    [ "$password" = '*' ] || password=other
    printf 'account %s:%s:%s\n' "$passwd" "$password" "$(id -nG "$1")"
}

account benito 'Benito guests and switches' "$root" /var/lib/benito
account benito-share 'Directories shared with Benito guests' /nonexistent
