# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run the NS file on standard input in a safe interpreter: no files, no processes, no sockets, bounded in time.
#
#   tclsh sandbox.tcl SECONDS BYTES ?trace?
#
# SECONDS are of processor time: what else the machine does makes no difference. Standard input is a file, and is overwritten.
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

# Called by the file itself, this may be given anything: what is no line is line 0.
proc report {line statement args} {
    global escapes bytes
    if {![string is integer -strict $line] || $line < 0} {
        set line 0
    }
    set record \[[format %d $line]
    foreach field [list $statement {*}$args] {
        if {[regexp {[\x00-\x1f"\\]} $field]} {
            set field [string map $escapes $field]
        }
        append record {, "} $field \"
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
    set bytes 100000
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

# Note where the definition of a procedure starts.
proc defined {name line} {
    global procedures
    if {[string is integer -strict $line]} {
        set procedures($name) $line
    }
}

# The line of the innermost statement that failed. Tcl tells lines of the file, and below that of each
# procedure and of some bodies from their beginning. The trail has words of the file in it: it may say anything, at any length.
proc failing_line {trail} {
    global procedures
    set places {^    \((?:file "/dev/stdin" line (\d{1,8})|procedure "(?:::)?([^"]+)" line (\d{1,8})|.* (?:body|script) line (\d{1,8}))\)$}
    set line 0
    set steps {}
    foreach {all file procedure offset body} [regexp -all -inline -line $places [string range $trail 0 999999]] {
        lappend steps [list $file $procedure $offset $body]
    }
    foreach step [lreverse $steps] {
        lassign $step file procedure offset body
        if {$file ne ""} {
            set line $file
        } elseif {$body ne ""} {
            incr line [expr {$body - 1}]
        } elseif {[info exists procedures($procedure)]} {
            set line [expr {$procedures($procedure) + $offset - 1}]
        }
    }
    return $line
}

# Seconds of processor time used so far; where the system does not tell, seconds since the start.
proc used {} {
    global started
    if {[catch {
        set file [open /proc/self/stat]
        set fields [split [lindex [split [read $file] )] end]]
        close $file
        expr {([lindex $fields 12] + [lindex $fields 13]) / 100.0}
    } spent]} {
        return [expr {[clock seconds] - $started}]
    }
    return $spent
}

# Tcl can only limit the time on the clock: when that is up, the file gets what it has not used of its processor time.
proc limit {child} {
    global seconds
    set left [expr {$seconds - [used]}]
    if {$left > 0} {
        interp limit $child time -seconds [expr {[clock seconds] + int(ceil($left))}] -milliseconds 0 -command [list limit $child]
    }
}

# Run the file as if it were sourced whole. Tcl compiles what it sources, and to tell the line of a statement it counts all before it:
# of a long file that takes minutes. So /dev/stdin is made to hold some of the file at a time, each statement on its own line.
proc run_file {child} {
    rename run_file {}
    set file [open /dev/stdin]
    fconfigure $file -encoding utf-8 -eofchar {}
    set lines [split [read $file] \n]
    close $file
    set number 0 ;# of the line
    set first 0 ;# the lines before the statements that are to be run next
    set ready "" ;# these statements
    set statement "" ;# the next one, which may have more lines
    set checked 0 ;# how much of it was not complete
    set count 0
    foreach line $lines {
        incr number
        append statement $line \n
        # A long statement is not looked through again for each line.
        if {[string length $statement] - $checked < $checked / 8} {
            continue
        }
        if {![info complete $statement]} {
            set checked [string length $statement]
            continue
        }
        append ready $statement
        set statement ""
        set checked 0
        if {[incr count] % 200 == 0} {
            if {![run_part $child $first $ready]} {
                return
            }
            set first $number
            set ready ""
        }
    }
    run_part $child $first $ready$statement
}

# Run a part of the file, which has so many lines before it. Return whether it came to its end: a "return" leaves the file.
proc run_part {child before statements} {
    global ended
    set file [open /dev/stdin w]
    fconfigure $file -encoding utf-8 -translation lf
    puts -nonewline $file [string repeat \n $before]
    puts $file $statements
    puts $file ::sim::ended
    close $file
    set ended 0
    $child invokehidden source -encoding utf-8 /dev/stdin
    return $ended
}

proc leave {child args} {
    fail [$child eval ::sim::line] "exit: an NS file ends with \"\$ns run\""
}

set started [clock seconds]
set child [interp create -safe]
# Not sourced: the file could ask where it was sourced from.
set file [open [file join [file dirname [info script]] simulator.tcl]]
fconfigure $file -encoding utf-8
set simulator [read $file]
close $file
$child eval $simulator
$child alias ::sim::report report
$child alias ::sim::defined defined
$child alias ::sim::ended set ended 1
$child alias ::sim::main run_file $child
$child alias exit leave $child
if {$trace eq "trace"} {
    $child alias ::sim::at at
    $child eval {trace add execution ::sim::run enterstep ::sim::step}
}
$child eval {rename trace {}}
limit $child

if {[catch {$child eval ::sim::run} message options]} {
    fail [failing_line [dict get $options -errorinfo]] $message
}
report 0 end
