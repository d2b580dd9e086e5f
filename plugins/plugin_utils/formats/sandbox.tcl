# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the NS file on standard input in a safe interpreter: no files, no processes, no sockets, bounded in time.
#
#   tclsh sandbox.tcl SECONDS BYTES ?trace?
#
# Writes one JSON list a line: [line, "statement", argument, ...] for each statement of the simulator, then
# [line, "error", message] or [0, "end"]. At most BYTES of it. With "trace" every line that is reached is
# written, and at once, as [line, "at"]: the last one is where a file stood that brought Tcl down.

lassign $argv seconds bytes trace
fconfigure stdout -encoding utf-8 -translation lf -buffering [expr {$trace eq "trace" ? "line" : "full"}]

# Characters that JSON wants escaped.
for {set code 0} {$code < 32} {incr code} {
    lappend escapes [format %c $code] [format {\u%04x} $code]
}
lappend escapes \" {\"} \\ {\\}

proc report {line args} {
    global escapes bytes
    set record \[[format %d $line]
    foreach field $args {
        append record {, "} [string map $escapes $field] \"
    }
    append record \]
    incr bytes -[string length $record]
    if {$bytes < 0} {
        fail $line "the file makes too much: does a loop never end?"
    }
    puts $record
}

# End here and now, so that no catch in the file can go on.
proc fail {line message} {
    global bytes
    set bytes 10000
    report $line error [string range $message 0 999]
    exit 1
}

proc at {line} {
    global reached
    if {![info exists reached] || $reached ne $line} {
        set reached $line
        report $line at
    }
}

# The line of the innermost statement that failed. Tcl tells lines of the file, and below that of each
# procedure and of some bodies from their beginning.
proc failing_line {trail child} {
    set places {^    \((?:file "/dev/stdin" line (\d+)|procedure "(?:::)?([^"]+)" line (\d+)|.* (?:body|script) line (\d+))\)$}
    set line 0
    set steps {}
    foreach {all file procedure offset body} [regexp -all -inline -line $places $trail] {
        set steps [linsert $steps 0 [list $file $procedure $offset $body]]
    }
    foreach step $steps {
        lassign $step file procedure offset body
        if {$file ne ""} {
            set line $file
        } elseif {$body ne ""} {
            incr line [expr {$body - 1}]
        } elseif {[$child eval [list info exists ::sim::procs($procedure)]]} {
            set line [expr {[$child eval [list ::sim::set ::sim::procs($procedure)]] + $offset - 1}]
        }
    }
    return $line
}

set child [interp create -safe]
$child invokehidden source -encoding utf-8 [file join [file dirname [info script]] simulator.tcl]
$child alias ::sim::report report
$child alias ::sim::at at
$child alias exit leave $child
proc leave {child args} {
    fail [$child eval ::sim::line] "exit: an NS file ends with \"\$ns run\""
}
$child alias ::sim::main $child invokehidden source -encoding utf-8 /dev/stdin
$child eval {::sim::proc ::sim::run {} {uplevel #0 ::sim::main}}
if {$trace eq "trace"} {
    $child eval {trace add execution ::sim::run enterstep ::sim::step}
}
$child eval {rename trace {}}
interp limit $child time -seconds [expr {[clock seconds] + $seconds}] -milliseconds 0

if {[catch {$child eval ::sim::run} message options]} {
    interp limit $child time -seconds {}
    fail [failing_line [dict get $options -errorinfo] $child] $message
}
report 0 end
