# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""XML text to tags that know where they stand, line and column, and whose parts are taken as they are understood.

What a file may ask for is counted while it is parsed, so that a file beyond a bound is refused before its tags fill the memory. For the
same reason each part of the topology, such as a node, is read as soon as it is complete, and its tags are dropped.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar
from xml.parsers import expat

from ..diagnostics import Location, Notice, Notices, TopologyError, one_line

LIMIT = 64 * 1024 * 1024  # bytes
TAGS = 2_000_000  # in a file; a node with its interface, and all that a swap-in adds to them, has about forty
TAGS_OF_ONE = 500_000  # in a part of the topology, such as a node
DEPTH = 100
OPTIONS = 100  # XML attributes on a tag
TEXT = 1024 * 1024  # characters in a tag

SPACE = " \t\r\n"  # what XML calls white space

EXPECTED = "a topology in TopDL starts with <experiment> or <topology>"

_PIECE = 64 * 1024
# Stands between namespace and name, neither of which can hold it.
_SEPARATOR = " "

T = TypeVar("T")


def read_tags(text: bytes | str, name: str, roots: tuple[str, ...], readers: Mapping[str, Callable[[Tag], object]]) -> Tag:
    """Return the root of an XML text, which has one of the names ``roots``. ``name`` is the file's, for messages.

    Children of the root for which there is a reader are read at once, and found by ``Tag.results``.
    Raises TopologyError, naming line and column.
    """
    return _Parser(name, roots, readers).parse(_utf8(text, name))


def _utf8(text: bytes | str, name: str) -> bytes:
    """Return a text as UTF-8 without byte order mark, having refused what is no XML at first sight."""
    try:
        data = (text if isinstance(text, bytes) else text.encode()).removeprefix(b"\xef\xbb\xbf")
    except UnicodeError:
        raise TopologyError("this is not text in UTF-8, so no topology", Location(name)) from None
    start = Location(name, 1, 1)
    if len(data) > LIMIT:
        raise TopologyError(f"the file has more than {LIMIT // 1024 // 1024} MB: no topology is that large", start)
    _check_utf8(data, name)
    if b"\0" in data:
        raise TopologyError("this is a binary file, not a topology", start)
    if not data.strip():
        raise TopologyError("the file is empty: a topology in TopDL starts with <experiment>", start)
    return data


def _check_utf8(data: bytes, name: str) -> None:
    """Refuse what is not UTF-8, in pieces: decoded as a whole, a file takes four times its size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data) + 1, _PIECE):
        try:
            decoder.decode(data[start : start + _PIECE], final=start + _PIECE > len(data))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, start + error.start) + 1
            raise TopologyError("this is not text in UTF-8, so no topology", Location(name, line)) from None


class _File:
    """The file being read: its name, and what was noticed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notices = Notices()


class Tag:
    """An XML element whose parts are taken as they are understood; what is left is unknown. Names are without namespace."""

    __slots__ = ("column", "file", "line", "name", "options", "parts", "taken", "text")

    def __init__(self, name: str, options: dict[str, str], file: _File, line: int, column: int) -> None:
        self.name = name.rpartition(_SEPARATOR)[2]
        self.file = file
        self.line, self.column = line, column
        self.options = options or None
        self.text = ""  # without the white space around it
        self.parts: dict[str, list[Tag]] | None = None  # by name, those that nobody has taken yet
        self.taken: dict[str, list[object]] | None = None  # by name, what was made of parts that were read at once

    def __str__(self) -> str:
        return f"<{printable(self.name)}>"

    @property
    def where(self) -> Location:
        """Where its start tag stands."""
        return Location(self.file.name, self.line, self.column)

    def notice(self, text: str) -> None:
        """Note something its author should know."""
        self.file.notices.add(Notice(self.where, text))

    def add(self, part: Tag) -> None:
        """Give it a part."""
        if self.parts is None:
            self.parts = {}
        self.parts.setdefault(part.name, []).append(part)

    def keep(self, name: str, result: object) -> None:
        """Keep what was made of a part of this name."""
        if self.taken is None:
            self.taken = {}
        self.taken.setdefault(name, []).append(result)

    def read(self, reader: Callable[[Tag], T]) -> T:
        """Return what the reader makes of this tag, and notice what the reader had no use for."""
        result = reader(self)
        if self.parts:
            for parts in self.parts.values():
                for part in parts:
                    part.notice(f"{part} is not known in {self} and is ignored")
        for option in self.options or ():
            if _SEPARATOR not in option:  # those of other namespaces, such as xsi:schemaLocation, are none of TopDL's business
                self.notice(f"the XML attribute {printable(option)} is not known in {self} and is ignored")
        if self.text:
            self.notice(f"the text {one_line(self.take_text(), 30)} means nothing in {self} and is ignored")
        return result

    def results(self, name: str) -> tuple[object, ...]:
        """Return what was made of the children of this name that were read at once, in the order of the file."""
        return tuple((self.taken or {}).get(name, ()))

    def all(self, name: str, reader: Callable[[Tag], T]) -> tuple[T, ...]:
        """Return what the reader makes of each child of this name."""
        parts = self.parts.pop(name, None) if self.parts else None
        return tuple([part.read(reader) for part in parts]) if parts else ()

    def optional(self, name: str, reader: Callable[[Tag], T]) -> T | None:
        """Return what the reader makes of the only child of this name, None without one."""
        parts = self.parts.pop(name, None) if self.parts else None
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
        return text

    def take_option(self, name: str, default: str) -> str:
        """Return the value of an XML attribute."""
        return self.options.pop(name, default) if self.options else default


class _Parser:
    """One parse: the tags that are open, and what has been counted."""

    def __init__(self, name: str, roots: tuple[str, ...], readers: Mapping[str, Callable[[Tag], object]]) -> None:
        self._file = _File(name)
        self._roots = roots
        self._readers = readers
        self._open: list[Tag] = []
        self._texts: list[list[str]] = []  # of each open tag, in pieces
        self._lengths: list[int] = []  # of each of these
        self._done: list[Tag] = []  # the root, once it has ended
        self._tags = 0
        self._tags_of_one = self._left = 0
        self._expat = parser = expat.ParserCreate("UTF-8", _SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._character_data
        parser.StartDoctypeDeclHandler = self._doctype

    def parse(self, data: bytes) -> Tag:
        parser = self._expat
        try:
            # In pieces, so that a tag or comment without end is refused before its parts are counted.
            for start in range(0, len(data), _PIECE):
                parser.Parse(data[start : start + _PIECE], False)
                if start + _PIECE - parser.CurrentByteIndex > TEXT + _PIECE:
                    self._refuse(f"a tag or comment has more than {TEXT // 1024 // 1024} MB")
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise TopologyError(
                f"this is not well-formed XML: {reason}", Location(self._file.name, error.lineno, error.offset + 1)
            ) from None
        finally:
            # The handlers lead back here: without them, what was read is freed at once.
            parser.StartElementHandler = parser.EndElementHandler = parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
        return self._done[0]

    def _where(self) -> Location:
        return Location(self._file.name, self._expat.CurrentLineNumber, self._expat.CurrentColumnNumber + 1)

    def _refuse(self, what: str) -> NoReturn:
        raise TopologyError(f"{what}: no topology needs so many", self._where())

    def _start(self, name: str, options: dict[str, str]) -> None:
        parser = self._expat
        tag = Tag(name, options, self._file, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)
        self._tags += 1
        self._tags_of_one += 1
        if self._tags > TAGS:
            self._refuse(f"the file has more than {TAGS} tags")
        if self._tags_of_one > TAGS_OF_ONE:
            self._refuse(f"a part of the topology has more than {TAGS_OF_ONE} tags")
        if len(options) > OPTIONS:
            self._refuse(f"{tag} has more than {OPTIONS} XML attributes")
        if len(self._open) >= DEPTH:
            self._refuse(f"tags are nested more than {DEPTH} deep")
        if not self._open and tag.name not in self._roots:
            said = "an HTML page" if tag.name.lower() == "html" else f"XML, but starts with {tag}"
            raise TopologyError(f"this is {said}: {EXPECTED}", tag.where)
        self._open.append(tag)
        self._texts.append([])
        self._lengths.append(0)

    def _end(self, name: str) -> None:
        tag = self._open.pop()
        if pieces := self._texts.pop():
            tag.text = "".join(pieces).strip(SPACE)
        self._lengths.pop()
        depth = len(self._open)
        if depth > 1:
            self._open[-1].add(tag)
        elif depth:
            self._end_of_part(self._open[0], tag)
        else:
            self._done.append(tag)

    def _end_of_part(self, root: Tag, tag: Tag) -> None:
        reader = self._readers.get(tag.name)
        if reader is None:
            root.add(tag)
        else:
            root.keep(tag.name, tag.read(reader))
            # What is left in memory are the root and those of its parts that nobody reads.
            self._tags_of_one = self._left
        self._left = self._tags_of_one

    def _character_data(self, text: str) -> None:
        pieces = self._texts[-1]
        # Most text is the white space between two tags.
        if pieces or text.strip(SPACE):
            pieces.append(text)
            self._lengths[-1] += len(text)
            if self._lengths[-1] > TEXT:
                self._refuse(f"the text of {self._open[-1]} has more than {TEXT} characters")

    def _doctype(self, root: str, *identifiers: object) -> None:
        if root.lower() == "html":
            raise TopologyError(f"this is an HTML page: {EXPECTED}", self._where())
        raise TopologyError("a DOCTYPE is not allowed in a topology: remove it and write its entities out", self._where())


def printable(text: str) -> str:
    """Return text of a file, cut and made harmless, without quotes."""
    return one_line(text, 60)[1:-1]
