# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulab's and DETER's NS files, which are Tcl programs, to a `Topology`.

Tcl runs the file and names its objects (`tcl.py`, `simulator.tcl`); here each statement gets its meaning. Rates are kb/s and
times ms. An NS link or LAN has a delay from node to node, of which TopDL puts half at each end.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Interface

from ..diagnostics import MOST_NOTICES, Location, Notice, Notices, TopologyError, close_to, one_line
from ..topology import Attribute, Capacity, Computer, Interface, Latency, OperatingSystem, Software, Substrate, Topology
from .consistency import check_topology
from .ns_units import decimal, is_address, parse_address, parse_bandwidth, parse_delay, parse_loss, parse_netmask
from .tcl import Statement, run_tcl

ROUTING = {
    "Static": "static",
    "Static-ddijk": "static",
    "Static-old": "static",
    "Manual": "manual",
    "Session": "session",
    "ospf": "session",
}
NODES = 100_000
ENDS = 400_000
CHANGES = 1_000_000
DEFAULT_NETMASK = "255.255.255.0"
ENABLE = {**dict.fromkeys(("1", "on", "yes", "true"), True), **dict.fromkeys(("0", "off", "no", "false"), False)}
FAILURE_ACTIONS = ("fatal", "nonfatal", "ignore")

_NAME = re.compile(r"[-0-9A-Za-z]{1,63}")

# How Emulab finds and shares its machines: nothing to say here.
_SILENT = re.compile(
    "node add-desire|tb-allow-external|tb-fix-current-resources|tb-make-(hard|soft|weighted)-vtype|tb-use-physnaming|"
    "tb-set-(allowcolocate|colocate-factor|cpu-usage|delay-capacity|delay-os|encapsulate|ipassign-args|"
    "jail-os|link-encap|link-failure-action|mem-usage|multiplexed|node-sharingmode|node-usesharednode|uselatestwadata|usewatunnels|"
    "useveth|vlink-emulation|wasolver-weights)"
)
# What would change the experiment, but cannot be had.
_IGNORED = re.compile(
    "ns (at|attach-agent|connect|cost|event-group|event-sequence|event-timeline|make-simulated|node-config)|"
    "(lan|link) (cost|queue|trace)|node (console|program-agent|topography)|tb-use-ipassign|"
    "tb-set-(node-cmdline|security-level|sync-server|tarfiles)"
)


def read_ns(text: str, name: str) -> tuple[Topology, tuple[Notice, ...]]:
    """Return the topology an NS file describes, and what its author should know. Raises TopologyError, with the line."""
    reader = _Reader(name)
    for statement in run_tcl(text, name):
        reader.read(statement)
    topology = reader.topology()
    return topology, (*reader.notices.all(), *check_topology(topology))


@dataclass(frozen=True)
class _Way:
    """One direction through one end of a link. A rate of 0 is no limit."""

    rate: int
    delay: float
    loss: float = 0.0


@dataclass(eq=False)
class _End:
    """Where a node touches a link: the way to the network, the way back, and the address there."""

    node: _Node
    link: _Link
    away: _Way
    back: _Way
    address: Attribute | None = None


@dataclass(eq=False)
class _Link:
    """A link or a LAN, with its ends in the order of the statement that made it.

    ``shaping`` is what the file says about where it is shaped; ``unlimited`` is where it says that nothing bounds the rate.
    """

    name: str
    kind: str
    where: Location
    ends: list[_End] = field(default_factory=list)
    netmask: Attribute | None = None
    shaping: Attribute | None = None
    unlimited: Location | None = None


@dataclass(frozen=True)
class _Route:
    """A route as it was written; links and names may still change, so objects stand for themselves until the end."""

    destination: _Node | _Link | _End | str
    hop: _Node
    where: Location


@dataclass(eq=False)
class _Node:
    """A node; ``settings`` are TopDL's own attributes, ``attributes`` those that the file adds by name."""

    name: str
    where: Location
    ends: dict[_Link, _End] = field(default_factory=dict)
    attributes: list[Attribute] = field(default_factory=list)
    settings: dict[str, Attribute] = field(default_factory=dict)
    os: Attribute | None = None
    packages: tuple[Software, ...] = ()
    archives: tuple[Software, ...] = ()
    routes: list[_Route] = field(default_factory=list)


class _Reader:
    """Gives statements their meaning, one after the other. Objects are known by the name they bear at that moment."""

    def __init__(self, name: str) -> None:
        self.notices = Notices()
        self._file = Location(name)
        self._where = self._file
        self._objects: dict[str, _Node | _Link | _End | None] = {}
        self._nodes: list[_Node] = []
        self._links: list[_Link] = []
        self._routing = Attribute("benito:routing", "none", self._file)
        self._shaping: Attribute | None = None
        self._failure_action: Attribute | None = None
        self._ran: Location | None = None
        self._guesses: dict[str, str] = {}
        self._ends = 0
        self._losing = 0
        self._between_nodes: dict[tuple[_Node, _Node], _Link] = {}  # the last link between two, in both orders
        # How each statement is written, and who reads it. Words in capitals are put there by the simulator.
        self._commands: dict[str, tuple[str, Callable[..., None]]] = {
            "new Simulator": ("NAME ...", self._simulator),
            "rename": ("OLD NEW", self._rename),
            "ns node": ("NAME ...", self._node),
            "ns duplex-link": ("NAME node node bandwidth delay type ...", self._duplex_link),
            "ns make-lan": ("NAME bandwidth delay ...", self._make_lan),
            "ns make-cloud": ("NAME bandwidth delay ...", self._make_cloud),
            "ns lanlink": ("NAME lan node", self._lanlink),
            "ns rtproto": ("type ...", self._rtproto),
            "ns run": ("", self._run),
            "node add-route": ("NODE destination next-hop", self._add_route),
            "node start-command": ("NODE command", partial(self._set, "startup")),
            "tb-set-ip": ("node address", self._set_ip),
            "tb-set-ip-interface": ("node neighbour address", self._set_ip_interface),
            "tb-set-ip-lan": ("node lan address", self._set_ip_lan),
            "tb-set-ip-link": ("node link address", self._set_ip_link),
            "tb-set-netmask": ("link netmask", self._set_netmask),
            "tb-set-ip-routing": ("type", self._set_ip_routing),
            "tb-set-hardware": ("node type ...", partial(self._set, "type")),
            "tb-set-node-os": ("node os ?parent?", self._set_os),
            "tb-set-node-rpms": ("node package ...", self._set_packages),
            "tb-set-node-tarfiles": ("node directory ?archive? ...", self._set_archives),
            "tb-set-node-startcmd": ("node command", partial(self._set, "startup")),
            "tb-set-node-startup": ("node command", partial(self._set, "startup")),
            "tb-set-node-failure-action": ("node action", self._set_failure_action),
            "tb-set-default-failure-action": ("action", self._set_default_failure_action),
            "tb-set-node-testbed": ("node testbed", partial(self._set, "testbed")),
            "tb-fix-node": ("node pnode", partial(self._set, "fixed")),
            "tb-add-node-attribute": ("node name value", self._add_attribute),
            "tb-set-link-loss": ("link-or-node ?neighbour? loss", self._set_link_loss),
            "tb-set-lan-loss": ("lan loss", self._set_lan_loss),
            "tb-set-node-lan-delay": ("node lan delay", self._set_node_lan_delay),
            "tb-set-node-lan-bandwidth": ("node lan bandwidth", self._set_node_lan_bandwidth),
            "tb-set-node-lan-loss": ("node lan loss", self._set_node_lan_loss),
            "tb-set-node-lan-params": ("node lan delay bandwidth loss", self._set_node_lan_params),
            "tb-set-link-simplex-params": ("link node delay bandwidth loss", self._set_link_simplex),
            "tb-set-lan-simplex-params": (
                "lan node to-delay to-bandwidth to-loss from-delay from-bandwidth from-loss",
                self._set_lan_simplex,
            ),
            "tb-use-endnodeshaping": ("enable", self._use_end_shaping),
            "tb-force-endnodeshaping": ("enable", self._use_end_shaping),
            "tb-set-endnodeshaping": ("link enable", self._set_end_shaping),
            "tb-set-noshaping": ("link enable", self._set_unlimited),
        }

    def read(self, statement: Statement) -> None:
        command, arguments = statement.command, statement.arguments
        self._where = Location(self._file.file, statement.line)
        if command == "ns run" and self._ran:
            raise TopologyError(f"$ns run stands twice: it may stand once (the first is at {self._ran})", self._where)
        if self._ran and command != "rename":
            self._notice(f"{_shown(command)} is ignored: it stands after $ns run")
        elif command in self._commands:
            usage, handler = self._commands[command]
            _check_number(command, usage, len(arguments), self._where)
            handler(*arguments)
        elif _IGNORED.fullmatch(command):
            self._notice(f"{_shown(command)} means nothing here and is ignored")
        elif not _SILENT.fullmatch(command):
            self._notice(f"unsupported NS statement {one_line(_shown(command))}{self._guess(command)}")

    def _guess(self, command: str) -> str:
        """Return a hint at what an unknown statement was to be; only for the first of them, as a guess takes a millisecond."""
        if command not in self._guesses and len(self._guesses) < MOST_NOTICES:
            near = close_to(command, self._commands, 1, 0.7)
            self._guesses[command] = f", did you mean {_shown(near[0])}?" if near else ""
        return self._guesses.get(command, "")

    def topology(self) -> Topology:
        if self._ran is None:
            raise TopologyError("there is no $ns run: an NS file makes one with [new Simulator] and ends with $ns run", self._file)
        nodes = [("node", node.name, node.where) for node in self._nodes]
        for kind, name, where in nodes + [(link.kind, link.name, link.where) for link in self._links]:
            if not _NAME.fullmatch(name):
                raise TopologyError(f"the {kind} name {one_line(name)} cannot be used: it must be 1 to 63 letters, digits and '-'", where)
        for link in self._links:
            for end in link.ends:
                _check_address(end)
            if link.unlimited and link.shaping and link.shaping.value == "netem":
                raise TopologyError(
                    f"the {link.kind} {link.name} is to be shaped at its end nodes and not to be shaped: "
                    "it must be either tb-set-endnodeshaping or tb-set-noshaping",
                    max(link.unlimited, link.shaping.where),
                )
            if link.unlimited and not _idle(link):
                for end in link.ends:
                    _shape(end, rate=0)
        # An end without delay says so where its substrate has one.
        delayed = {link for link in self._links if any(way.delay for way in _ways(link))}
        return Topology(
            substrates=tuple(_substrate(link) for link in self._links),
            elements=tuple(self._computer(node, delayed) for node in self._nodes),
            attributes=(Attribute("benito:addressing", "emulab", self._file), self._routing, *((self._shaping,) if self._shaping else ())),
            where=self._file,
        )

    # Objects and what they are made of.

    def _simulator(self, name: str, *arguments: str) -> None:
        self._objects[name] = None
        self._extra("new Simulator", arguments)

    def _rename(self, old: str, new: str) -> None:
        thing = self._objects.pop(old, None)
        self._objects[new] = thing
        if isinstance(thing, (_Node, _Link)):
            thing.name = new

    def _node(self, name: str, *arguments: str) -> None:
        self._extra("ns node", arguments)
        if len(self._nodes) == NODES:
            raise TopologyError(f"the file makes more than {NODES} nodes: does a loop never end?", self._where)
        node = _Node(name, self._where)
        self._objects[name] = node
        self._nodes.append(node)

    def _duplex_link(self, name: str, one: str, other: str, bandwidth: str, delay: str, queue: str, *arguments: str) -> None:
        self._extra("ns duplex-link", arguments)
        if queue != "DropTail":
            self._notice(f"queue type {one_line(queue)} is treated as DropTail")
        nodes = [self._as_node(one), self._as_node(other)]
        if nodes[0] is nodes[1]:
            raise TopologyError(f"a link joins two nodes, not {nodes[0].name} with itself", self._where)
        link = self._link("link", name, nodes, bandwidth, delay)
        self._between_nodes[nodes[0], nodes[1]] = self._between_nodes[nodes[1], nodes[0]] = link

    def _make_lan(self, name: str, bandwidth: str, delay: str, *arguments: str) -> None:
        split = arguments.index("--") if "--" in arguments else len(arguments)
        self._extra("ns make-lan", arguments[:split])
        nodes = [self._as_node(member) for member in arguments[split + 1 :]]
        if len(nodes) < 2:
            raise TopologyError(f"a LAN has at least 2 nodes, this one has {len(nodes)}", self._where)
        name_of_most, times = Counter(node.name for node in nodes).most_common(1)[0]
        if times > 1:
            raise TopologyError(f"node {name_of_most} is in the LAN {times} times: once is enough", self._where)
        self._link("lan", name, nodes, bandwidth, delay)

    def _make_cloud(self, *arguments: str) -> None:
        self._notice("$ns make-cloud makes a LAN here")
        self._make_lan(*arguments)

    def _link(self, kind: str, name: str, nodes: list[_Node], bandwidth: str, delay: str) -> _Link:
        self._ends += len(nodes)
        if self._ends > ENDS:
            raise TopologyError(f"links and LANs have more than {ENDS} ends: does a loop never end?", self._where)
        link = _Link(name, kind, self._where)
        way = _Way(parse_bandwidth(bandwidth, self._where), parse_delay(delay, self._where) / 2)
        for node in nodes:
            end = _End(node, link, way, way)
            link.ends.append(end)
            node.ends[link] = end
        self._objects[name] = link
        self._links.append(link)
        return link

    def _lanlink(self, name: str, lan: str, node: str) -> None:
        self._objects[name] = self._lan_end(node, lan)

    def _rtproto(self, kind: str, *arguments: str) -> None:
        self._extra("ns rtproto", arguments)
        if kind in ROUTING:
            self._routing = Attribute("benito:routing", ROUTING[kind], self._where)
        else:
            self._notice(f"routing {one_line(kind)} is ignored: it must be {', '.join(ROUTING)}")

    def _set_ip_routing(self, kind: str) -> None:
        if kind not in ("none", "ospf"):
            raise TopologyError(f"{one_line(kind)} is no routing: it must be none or ospf", self._where)
        self._routing = Attribute("benito:routing", ROUTING.get(kind, "none"), self._where)

    def _run(self) -> None:
        self._ran = self._where

    # What nodes are like.

    def _set(self, attribute: str, node: str, value: str, *_: str) -> None:
        self._as_node(node).settings[attribute] = Attribute(attribute, value, self._where)

    def _set_os(self, node: str, os: str, _parent: str = "") -> None:
        self._as_node(node).os = Attribute("osid", os, self._where)

    def _set_packages(self, node: str, *packages: str) -> None:
        self._as_node(node).packages = tuple(Software(package) for package in _words(packages))

    def _set_archives(self, node: str, *arguments: str) -> None:
        words = _words(arguments)
        if len(words) % 2:
            raise TopologyError("tb-set-node-tarfiles needs pairs of a directory and an archive", self._where)
        pairs = list(zip(words[::2], words[1::2], strict=True))
        for directory, dummy in pairs:
            if not directory.startswith("/"):
                raise TopologyError(f"the directory {one_line(directory)} is not an absolute path: it must start with /", self._where)
        self._as_node(node).archives = tuple(Software(archive, directory) for directory, archive in pairs)

    def _set_failure_action(self, node: str, action: str) -> None:
        self._set("failureaction", node, self._checked_action(action))

    def _set_default_failure_action(self, action: str) -> None:
        self._failure_action = Attribute("failureaction", self._checked_action(action), self._where)

    def _checked_action(self, action: str) -> str:
        if action not in FAILURE_ACTIONS:
            raise TopologyError(f"{one_line(action)} is no failure action: it must be {', '.join(FAILURE_ACTIONS)}", self._where)
        return action

    def _add_attribute(self, node: str, name: str, value: str) -> None:
        self._as_node(node).attributes.append(Attribute(name, value, self._where))

    # Addresses and routes.

    def _set_ip(self, node: str, address: str) -> None:
        ends = [*self._as_node(node).ends.values()]
        if len(ends) != 1:
            raise TopologyError(f"{node} has {len(ends)} links: tb-set-ip needs exactly one, else use tb-set-ip-link or -lan", self._where)
        self._give_address(ends[0], address)

    def _set_ip_interface(self, node: str, neighbour: str, address: str) -> None:
        self._give_address(self._end(node, self._between(node, neighbour)), address)

    def _set_ip_lan(self, node: str, lan: str, address: str) -> None:
        self._give_address(self._lan_end(node, lan), address)

    def _set_ip_link(self, node: str, link: str, address: str) -> None:
        self._give_address(self._end(node, self._as_link(link, "link")), address)

    def _give_address(self, end: _End, address: str) -> None:
        end.address = Attribute("ip4_address", parse_address(address, self._where), self._where)

    def _set_netmask(self, link: str, netmask: str) -> None:
        self._as_link(link).netmask = Attribute("ip4_netmask", parse_netmask(netmask, self._where), self._where)

    def _add_route(self, node: str, destination: str, hop: str) -> None:
        goal: _Node | _Link | _End | str | None = self._objects.get(destination)
        if goal is None:
            goal = self._network(destination)
        via = self._objects.get(hop)
        route = _Route(goal, via.node if isinstance(via, _End) else self._as_node(hop), self._where)
        self._as_node(node).routes.append(route)

    def _network(self, text: str) -> str:
        address, slash, length = text.partition("/")
        if not is_address(address) or (slash and not re.fullmatch("[0-9]|[12][0-9]|3[0-2]", length)):
            raise TopologyError(f"{one_line(text)} is no destination: it must be a node, link, LAN or address", self._where)
        return parse_address(address, self._where) + slash + length

    # How links behave.

    def _set_link_loss(self, *arguments: str) -> None:
        link = self._between(*arguments[:2]) if len(arguments) == 3 else self._as_link(arguments[0])
        self._lose(link, arguments[-1])

    def _set_lan_loss(self, lan: str, loss: str) -> None:
        self._lose(self._as_link(lan, "lan"), loss)

    def _lose(self, link: _Link, loss: str) -> None:
        half = _half(parse_loss(loss, self._where))
        self._losing += len(link.ends)
        if self._losing > CHANGES:
            raise TopologyError(f"losses of LANs are set at more than {CHANGES} ends: does a loop never end?", self._where)
        for end in link.ends:
            _shape(end, loss=half)

    def _set_node_lan_delay(self, node: str, lan: str, delay: str) -> None:
        # Between the node and the LAN, so not halved.
        _shape(self._lan_end(node, lan), delay=parse_delay(delay, self._where))

    def _set_node_lan_bandwidth(self, node: str, lan: str, bandwidth: str) -> None:
        _shape(self._lan_end(node, lan), rate=parse_bandwidth(bandwidth, self._where))

    def _set_node_lan_loss(self, node: str, lan: str, loss: str) -> None:
        _shape(self._lan_end(node, lan), loss=parse_loss(loss, self._where))

    def _set_node_lan_params(self, node: str, lan: str, delay: str, bandwidth: str, loss: str) -> None:
        self._set_node_lan_delay(node, lan, delay)
        self._set_node_lan_bandwidth(node, lan, bandwidth)
        self._set_node_lan_loss(node, lan, loss)

    def _set_lan_simplex(self, lan: str, node: str, *ways: str) -> None:
        end = self._lan_end(node, lan)
        end.away, end.back = self._way(*ways[:3]), self._way(*ways[3:])

    def _set_link_simplex(self, link: str, node: str, delay: str, bandwidth: str, loss: str) -> None:
        near = self._end(node, self._as_link(link, "link"))
        far = next(end for end in near.link.ends if end is not near)
        way = self._way(delay, bandwidth, loss)
        near.away = far.back = replace(way, delay=way.delay / 2, loss=_half(way.loss))

    def _way(self, delay: str, bandwidth: str, loss: str) -> _Way:
        return _Way(parse_bandwidth(bandwidth, self._where), parse_delay(delay, self._where), parse_loss(loss, self._where))

    def _use_end_shaping(self, enable: str) -> None:
        self._shaping = Attribute("benito:shaping", "netem", self._where) if self._switched(enable) else None

    def _set_end_shaping(self, link: str, enable: str) -> None:
        method = "netem" if self._switched(enable) else "wirefilter"
        self._as_link(link).shaping = Attribute("benito:shaping", method, self._where)

    def _set_unlimited(self, link: str, enable: str) -> None:
        self._as_link(link).unlimited = self._where if self._switched(enable) else None

    def _switched(self, word: str) -> bool:
        if word.lower() not in ENABLE:
            raise TopologyError(f"{one_line(word)} neither enables nor disables: it must be 1 or 0", self._where)
        return ENABLE[word.lower()]

    # Finding what a statement names.

    def _as_node(self, name: str) -> _Node:
        found = self._objects.get(name)
        if not isinstance(found, _Node):
            raise TopologyError(f"{one_line(name)} is not a node{self._hint(name, _Node)}", self._where)
        return found

    def _as_link(self, name: str, kind: str = "") -> _Link:
        found = self._objects.get(name)
        if not isinstance(found, _Link) or kind not in ("", found.kind):
            what = {"link": "a link", "lan": "a LAN", "": "a link or LAN"}[kind]
            raise TopologyError(f"{one_line(name)} is not {what}{self._hint(name, _Link)}", self._where)
        return found

    def _hint(self, name: str, kind: type[_Node | _Link]) -> str:
        near = close_to(name, [known for known, thing in self._objects.items() if isinstance(thing, kind) and known != name], 1)
        return f", did you mean {near[0]}?" if near else ""

    def _end(self, node: str, link: _Link) -> _End:
        owner = self._as_node(node)
        found = owner.ends.get(link)
        if found is None:
            raise TopologyError(f"{owner.name} is not connected to {link.name}", self._where)
        return found

    def _lan_end(self, node: str, lan: str) -> _End:
        return self._end(node, self._as_link(lan, "lan"))

    def _between(self, node: str, other: str) -> _Link:
        """Return the last link that was made between two nodes."""
        one, two = self._as_node(node), self._as_node(other)
        link = self._between_nodes.get((one, two))
        if link is None:
            raise TopologyError(f"there is no link between {one.name} and {two.name}", self._where)
        return link

    def _notice(self, text: str) -> None:
        self.notices.add(Notice(self._where, text))

    def _extra(self, command: str, arguments: tuple[str, ...]) -> None:
        if arguments:
            self._notice(f"more arguments than {_shown(command)} needs are ignored: {one_line(' '.join(arguments))}")

    # The result.

    def _computer(self, node: _Node, delayed: set[_Link]) -> Computer:
        settings = {a.name: a for a in (self._failure_action,) if a} | node.settings
        known = [settings[name] for name in ("fixed", "type", "startup", "testbed", "failureaction") if name in settings]
        routes = "; ".join(f"{_destination(route)} via {_neighbour(node, route)}" for route in node.routes)
        if routes:
            known.append(Attribute("benito:routes", routes, node.routes[0].where))
        return Computer(
            name=node.name,
            oses=(OperatingSystem(attributes=(node.os,)),) if node.os else (),
            software=node.archives + node.packages,
            interfaces=tuple(_interface(f"inf{number:03}", end, end.link in delayed) for number, end in enumerate(node.ends.values())),
            attributes=(*node.attributes, *known),
            where=node.where,
        )


def _shape(end: _End, **changes: float) -> None:
    """Change both ways of an end."""
    end.away, end.back = replace(end.away, **changes), replace(end.back, **changes)  # type: ignore[arg-type]


def _half(loss: float) -> float:
    """Return the loss of each of two ends that together lose this."""
    return 1 - math.sqrt(1 - loss)


def _words(arguments: tuple[str, ...]) -> list[str]:
    """Return arguments as words; a single one is a list of them."""
    return arguments[0].split() if len(arguments) == 1 else list(arguments)


def _shown(command: str) -> str:
    """Return a statement as it stands in a file: $ns run, tb-set-ip, $node add-route."""
    return f"${command}" if command.startswith(("ns ", "node ", "link ", "lan ", "lanlink ")) else command


def _check_number(command: str, usage: str, given: int, where: Location) -> None:
    words = usage.split()
    optional = [word for word in words if word.startswith("?") or word == "..."]
    least = len(words) - len(optional)
    if given < least or (given > len(words) and "..." not in words):
        written = " ".join([_shown(command), *(word for word in words if not word.isupper())])
        raise TopologyError(f"wrong number of arguments: it must be {written}", where)


def _ways(link: _Link) -> list[_Way]:
    return [way for end in link.ends for way in (end.away, end.back)]


def _idle(link: _Link) -> bool:
    """Tell whether nothing but the rate is to be shaped."""
    return not any(way.delay or way.loss for way in _ways(link))


def _substrate(link: _Link) -> Substrate:
    ways = _ways(link)
    rate, delay = max(way.rate for way in ways), max(way.delay for way in ways)
    # Where the rate was all, it is kept for those who read it.
    shaping = Attribute("benito:shaping", "none", link.unlimited) if link.unlimited and _idle(link) else link.shaping
    return Substrate(
        name=link.name,
        capacity=Capacity(rate) if rate else None,
        latency=Latency(delay) if delay else None,
        attributes=(shaping,) if shaping else (),
        where=link.where,
    )


def _interface(name: str, end: _End, delayed: bool) -> Interface:
    away, back, link = end.away, end.back, end.link
    attributes = []
    if away.loss:
        attributes.append(Attribute("loss", decimal(away.loss), link.where))
    for attribute, there, here in (
        ("benito:reverse_capacity", back.rate, away.rate),
        ("benito:reverse_latency", back.delay, away.delay),
        ("benito:reverse_loss", back.loss, away.loss),
    ):
        if there != here:
            attributes.append(Attribute(attribute, decimal(there), link.where))
    if end.address:
        attributes.append(end.address)
    if link.netmask or end.address:
        attributes.append(link.netmask or Attribute("ip4_netmask", DEFAULT_NETMASK, link.where))
    return Interface(
        name=name,
        substrates=(link.name,),
        capacity=Capacity(away.rate) if away.rate else None,
        latency=Latency(away.delay) if delayed else None,
        attributes=tuple(attributes),
        where=link.where,
    )


def _check_address(end: _End) -> None:
    """Raise TopologyError when an address is that of its network itself, or of everyone in it."""
    if end.address is None:
        return
    netmask = end.link.netmask.value if end.link.netmask else DEFAULT_NETMASK
    host = IPv4Interface(f"{end.address.value}/{netmask}")
    if host.ip in (host.network.network_address, host.network.broadcast_address):
        raise TopologyError(
            f"{host.ip} cannot be the address of {end.node.name}: with netmask {netmask} its host part is all zeros or all ones",
            end.address.where,
        )


def _destination(route: _Route) -> str:
    goal = route.destination
    if isinstance(goal, str):
        return goal
    if isinstance(goal, _Link):
        return goal.name
    if isinstance(goal, _End) and goal.address:
        return goal.address.value
    node = goal.node if isinstance(goal, _End) else goal
    if len(node.ends) != 1:
        raise TopologyError(
            f"a route to {node.name} is not clear, it has {len(node.ends)} links: name one of them, as in [$ns link a b], or an address",
            route.where,
        )
    return node.name


def _neighbour(node: _Node, route: _Route) -> str:
    if route.hop is node or node.ends.keys().isdisjoint(route.hop.ends):
        raise TopologyError(f"{node.name} has no link or LAN with its next hop {route.hop.name}", route.where)
    return route.hop.name
