# A centre and nine satellites; from one satellite to another it is two hops.
source tb_compat.tcl
set ns [new Simulator]

set center [$ns node]
for {set i 0} {$i < 9} {incr i} {
    # n(3) becomes the node n-3.
    set n($i) [$ns node]
    $ns duplex-link $center $n($i) 100Mb 0ms DropTail
}
tb-set-node-startcmd $n(0) "until ping -c 1 -W 1 n-8; do sleep 1; done"

$ns rtproto Static
$ns run
