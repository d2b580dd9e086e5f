#!/bin/sh
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# routes.py CONFIGDIR [HOSTNAME]
#
# Installs the routes of a node: the lines "TO VIA DEVICE" of CONFIGDIR/route/HOSTNAME. A route which
# is there already is left as it is. The name ends in .py because that is what it has always been called.

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: routes.py CONFIGDIR [HOSTNAME]" >&2
    exit 2
fi
name=${2-}
if [ -z "$name" ]; then
    name=$(hostname)
    name=${name%%.*}
fi
if [ ! -r "$1/route/$name" ]; then
    echo "routes.py: no routes of $name: $1/route/$name cannot be read" >&2
    exit 1
fi
awk 'NF { print "route replace " $1 " via " $2 " dev " $3 }' "$1/route/$name" | ip -force -batch -
