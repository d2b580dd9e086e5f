# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What an NS file finds in its interpreter: the Simulator class, node, link and LAN objects as commands, and
# every tb-* command. Objects get their names here, for the file computes with names; what a statement
# means is decided elsewhere: each one is only reported, with its line, through the command "report".

namespace eval ::sim {
    variable kinds      ;# object -> simulator, node, link, lan or lanlink
    variable names      ;# object -> what it is called now
    variable objects    ;# what it is called now -> object
    variable last ""    ;# the object that the next global assignment names
    variable counter 0  ;# one counter for nodes, links and LANs, as in Emulab
    variable others 0   ;# and one for all else
    variable between    ;# "object object" of two nodes -> the last link between them
    array set kinds {}
    array set names {}
    array set objects {}
    array set between {}
}

# From here on "set" means Tcl's own inside this namespace, and ours to the file.
rename set ::sim::set
rename proc ::sim::proc
rename interp ::sim::interp

# The line of the innermost statement of the file that is being run.
::sim::proc ::sim::line {} {
    for {set depth [expr {[info frame] - 2}]} {$depth > 0} {incr depth -1} {
        set frame [info frame $depth]
        if {[dict exists $frame file] && [dict get $frame file] eq "/dev/stdin"} {
            return [dict get $frame line]
        }
    }
    return 0
}

namespace eval ::sim {
    proc say {statement args} {
        report [line] $statement {*}$args
    }

    # Make an object under its internal name, report it and return that name.
    proc create {kind name statement arguments} {
        variable kinds
        variable names
        variable objects
        variable last
        set kinds($name) $kind
        set names($name) $name
        set objects($name) $name
        set last $name
        say $statement $name {*}$arguments
        return $name
    }

    # The first global variable that an object is assigned to gives it its name: n(3) makes n-3.
    proc name_object {object variable} {
        variable names
        variable objects
        set name [string map {( - ) {}} $variable]
        if {[info exists objects($name)]} {
            error "there is already an object \"$name\": assign this one to another variable"
        }
        if {[namespace which -command ::$name] ne ""} {
            error "\"$name\" is the name of a Tcl command: assign this object to another variable"
        }
        unset objects($names($object))
        set names($object) $name
        set objects($name) $object
        say rename $object $name
        return $name
    }

    proc assign {args} {
        variable last
        if {$last eq "" || [llength $args] != 2} {
            tailcall ::sim::set {*}$args
        }
        lassign $args variable value
        uplevel 1 [list ::sim::set $variable $value]
        # A global variable is one that can be read by this name at the outermost level.
        regsub {^::} $variable {} variable
        upvar #0 $variable global
        if {[string first :: $variable] >= 0 || ![info exists global] || $global ne $value} {
            return $value
        }
        set object $last
        set last ""
        if {$value ne $object} {
            return $value
        }
        set name [name_object $object $variable]
        uplevel 1 [list ::sim::set [lindex $args 0] $name]
    }

    proc define {args} {
        defined [lindex $args 0] [line]
        tailcall ::sim::proc {*}$args
    }

    proc new {class args} {
        variable others
        if {$class eq "Simulator"} {
            return [create simulator Simulator[incr others] "new Simulator" $args]
        }
        say "new $class" {*}$args
        return tbnull
    }

    proc source {args} {
        set file [lindex $args end]
        if {[lindex [split $file /] end] ni {tb_compat.tcl nstb_compat.tcl}} {
            error "source $file: an NS file must stand alone, only tb_compat.tcl may be sourced"
        }
    }

    proc forbidden {command reason args} {
        error "$command is not available in an NS file: $reason"
    }

    # Every name that is not a Tcl command: objects, tb-* commands, classes of ns-2.
    proc unknown {name args} {
        variable kinds
        variable objects
        if {$name eq "tbnull"} {
            return tbnull
        }
        if {[info exists objects($name)]} {
            set object $objects($name)
            return [call $kinds($object) $object $name {*}$args]
        }
        if {[string match tb-* $name]} {
            say $name {*}$args
            return tbnull
        }
        if {[regexp {^[A-Z]\w*(/\w+)+$|^(Simulator|Node|Link|Queue|Agent|Application|Trace|RNG|RandomVariable)$} $name]} {
            say $name {*}$args
            return tbnull
        }
        error "unknown command \"$name\""
    }

    # A method of an object that was called by its present name.
    proc call {kind object name {method ""} args} {
        variable counter
        variable others
        variable between
        variable names
        if {$method eq ""} {
            error "$name is a $kind: say what it should do, \"$name method ...\""
        }
        if {$kind ne "simulator"} {
            say "$kind $method" $name {*}$args
            return tbnull
        }
        switch -- $method {
            node {
                return [create node tbnode-n[incr counter] "ns node" $args]
            }
            duplex-link {
                set link [create link tblink-l[incr counter] "ns duplex-link" $args]
                lassign $args one other
                set between([ends $one $other]) $link
                return $link
            }
            make-lan - make-cloud {
                if {[llength $args] < 3} {
                    error "wrong number of arguments: it must be \$ns $method nodes bandwidth delay"
                }
                set members [lindex $args 0]
                return [create lan tblan-lan[incr counter] "ns $method" [concat [lrange $args 1 end] -- $members]]
            }
            link {
                set pair [ends {*}[lrange $args 0 1]]
                if {[llength $args] != 2 || ![info exists between($pair)]} {
                    error "there is no link between \"[lindex $args 0]\" and \"[lindex $args 1]\""
                }
                return $names($between($pair))
            }
            lanlink {
                variable last
                set before $last
                set lanlink [create lanlink tblanlink-[incr others] "ns lanlink" $args]
                set last $before
                return $lanlink
            }
        }
        # Emulab takes a number for each object it does not know, so later names depend on it.
        if {$method ni {rtproto run at attach-agent connect cost event-group make-simulated node-config}} {
            incr counter
        }
        say "ns $method" {*}$args
        return [expr {$method eq "run" ? "" : "tbnull"}]
    }

    # The key of the unordered pair of two nodes, whatever they are called now.
    proc ends {{one ""} {other ""}} {
        variable objects
        foreach end {one other} {
            if {[info exists objects([set $end])]} {
                set $end $objects([set $end])
            }
        }
        return [lsort [list $one $other]]
    }

    proc step {args} {
        at [line]
    }

    proc run {} {
        uplevel #0 ::sim::main
    }
}

namespace eval ::sim {
    foreach {command ours} {set assign proc define new new source source unknown unknown} {
        interp alias {} ::$command {} ::sim::$ours
    }
    interp alias {} ::puts {} ::list
    foreach {reason commands} {
        "it may not touch files" {
            cd chan close encoding eof fblocked fconfigure fcopy file flush gets glob load open pwd read seek tell unload
        }
        "it may not run programs" {exec interp pid}
        "it may not open connections" {socket}
        "it may not wait" {after fileevent update vwait}
        "the same file must always give the same topology" {clock time}
    } {
        foreach command $commands {
            interp alias {} ::$command {} ::sim::forbidden $command $reason
        }
    }
    # A command that is a part of another can be called by its own name as well.
    foreach part {hostname library loaded nameofexecutable sharedlibextension} {
        interp alias {} ::tcl::info::$part {} ::sim::forbidden "info $part" "the same file must always give the same topology"
    }
    foreach namespace {chan clock encoding file process unsupported zipfs} {
        catch {namespace delete ::tcl::$namespace}
    }
    foreach command {::tcl::pkgconfig ::zlib::pkgconfig} {
        catch {rename $command {}}
    }
    rename interp {}
    # Random numbers are the same in each run.
    expr {srand(1)}
}
