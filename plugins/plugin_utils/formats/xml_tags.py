# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""XML text to tags that know where they stand, line and column, and whose parts are taken as they are understood."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar
from xml.parsers import expat

from ..diagnostics import Location, Notice, TopologyError, one_line

try:
    from lxml import etree
except ImportError:  # reported when a file is read or written
    etree = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from lxml.etree import _Element as XmlElement

LIMIT = 64 * 1024 * 1024  # bytes

SPACE = " \t\r\n"  # what XML calls white space

T = TypeVar("T")


def read_tags(text: bytes | str, name: str) -> Tag:
    """Return the root of an XML text. ``name`` is the file's, for messages. Raises TopologyError, naming line and column."""
    return _parse(_utf8(text, name), name)


def _utf8(text: bytes | str, name: str) -> bytes:
    """Return a text as UTF-8 without byte order mark, having refused what is no XML at first sight."""
    try:
        data = (text if isinstance(text, bytes) else text.encode()).removeprefix(b"\xef\xbb\xbf")
        data.decode()
    except UnicodeError as error:
        line = text.count(b"\n", 0, error.start) + 1 if isinstance(text, bytes) and isinstance(error, UnicodeDecodeError) else 0
        raise TopologyError("this is not text in UTF-8, so no topology", Location(name, line)) from None
    start = Location(name, 1, 1)
    if len(data) > LIMIT:
        raise TopologyError(f"the file has more than {LIMIT // 1024 // 1024} MB: no topology is that large", start)
    if b"\0" in data:
        raise TopologyError("this is a binary file, not a topology", start)
    if not data.strip():
        raise TopologyError("the file is empty: a topology in TopDL starts with <experiment>", start)
    return data


class _File:
    """The file being read: its name, and what was noticed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notices: list[Notice] = []


class Tag:
    """An XML element whose parts are taken as they are understood; what is left is unknown. Names are without namespace."""

    __slots__ = ("column", "file", "line", "name", "options", "parts", "text")

    def __init__(self, element: XmlElement, places: Iterator[tuple[int, int]], file: _File) -> None:
        """``places`` gives line and column of this element and of those in it, in document order."""
        name = str(element.tag)
        self.name = name.rpartition("}")[2] if name[0] == "{" else name
        self.file = file
        self.line, self.column = next(places)
        self.options = element.items() or ()
        self.text = element.text or ""
        self.parts: dict[str, list[Tag]] = {}  # by name, those that nobody has taken yet
        for child in element:
            part = Tag(child, places, file)
            self.parts.setdefault(part.name, []).append(part)
            self.text += child.tail or ""

    def __str__(self) -> str:
        return f"<{printable(self.name)}>"

    @property
    def where(self) -> Location:
        """Where its start tag stands."""
        return Location(self.file.name, self.line, self.column)

    def notice(self, text: str) -> None:
        """Note something its author should know."""
        self.file.notices.append(Notice(self.where, text))

    def read(self, reader: Callable[[Tag], T]) -> T:
        """Return what the reader makes of this tag, and notice what the reader had no use for."""
        result = reader(self)
        for parts in self.parts.values():
            for part in parts:
                part.notice(f"{part} is not known in {self} and is ignored")
        for option, dummy in self.options:
            if not str(option).startswith("{"):  # those of other namespaces, such as xsi:schemaLocation, are none of TopDL's business
                self.notice(f"the XML attribute {printable(str(option))} is not known in {self} and is ignored")
        if self.text and (stray := self.take_text()):
            self.notice(f"the text {one_line(stray, 30)} means nothing in {self} and is ignored")
        return result

    def all(self, name: str, reader: Callable[[Tag], T]) -> tuple[T, ...]:
        """Return what the reader makes of each child of this name."""
        parts = self.parts.pop(name, None)
        return tuple([part.read(reader) for part in parts]) if parts else ()

    def optional(self, name: str, reader: Callable[[Tag], T]) -> T | None:
        """Return what the reader makes of the only child of this name, None without one."""
        parts = self.parts.pop(name, None)
        if not parts:
            return None
        if len(parts) > 1:
            raise TopologyError(f"there is more than one <{name}> in {self}: there must be one", parts[1].where)
        return parts[0].read(reader)

    def one(self, name: str, reader: Callable[[Tag], T]) -> T:
        """Return what the reader makes of the only child of this name, which must be there."""
        found = self.optional(name, reader)
        if found is None:
            raise TopologyError(f"{self} has no <{name}>: it needs one", self.where)
        return found

    def take_text(self) -> str:
        """Return the text without the white space around it."""
        text, self.text = self.text, ""
        return text.strip(SPACE)

    def take_option(self, name: str, default: str) -> str:
        """Return the value of an XML attribute."""
        found = [str(value) for option, value in self.options if option == name]
        self.options = [(option, value) for option, value in self.options if option != name]
        return found[0] if found else default


def _parse(data: bytes, name: str) -> Tag:
    """Return the root of an XML text."""
    if etree is None:
        raise TopologyError("reading TopDL needs the Python library lxml: pip install lxml")
    places = _places(data, name)
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise TopologyError(f"this is not well-formed XML: {printable(error.msg or '')}", Location(name, *error.position)) from None
    return Tag(root, places, _File(name))


def _places(data: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Return line and column, from 1, of each start tag in document order.

    lxml knows no columns, and many files are a single line. This pass also refuses a DOCTYPE before
    anything in it can be expanded.
    """
    lines, columns = array("Q"), array("Q")
    parser = expat.ParserCreate("UTF-8")

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines.append(parser.CurrentLineNumber)
        columns.append(parser.CurrentColumnNumber + 1)

    def doctype(root: str, *identifiers: object) -> None:
        where = Location(name, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)
        if root.lower() == "html":
            raise TopologyError("this is an HTML page: a topology in TopDL starts with <experiment> or <topology>", where)
        raise TopologyError("a DOCTYPE is not allowed in a topology: remove it and write its entities out", where)

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise TopologyError(f"this is not well-formed XML: {reason}", Location(name, error.lineno, error.offset + 1)) from None
    return zip(lines, columns, strict=True)


def printable(text: str) -> str:
    """Return text of a file, cut and made harmless, without quotes."""
    return one_line(text, 60)[1:-1]
