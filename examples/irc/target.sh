#!/bin/sh
# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The target: a web server that says which node it is. Python's where there is Python, and busybox's elsewhere.
page=$(mktemp -d)
server=
trap 'kill $server; rm -rf "$page"' EXIT
trap 'exit 0' HUP INT TERM
echo "this is $(hostname)" >"$page/index.html"
chmod 755 "$page"
if command -v python3 >/dev/null; then
    python3 -m http.server --directory "$page" 8080 &
else
    busybox httpd -f -p 8080 -h "$page" &
fi
server=$!
wait $server
