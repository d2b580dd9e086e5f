# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.benito.testbed.plugins.plugin_utils.plan import make_plan

DEMO = Path(__file__).resolve().parents[3] / "examples/irc"


def load(name: str) -> ModuleType:
    """Return a program of the demo as a module."""
    spec = importlib.util.spec_from_file_location(name, DEMO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


server, bot = load("irc_server"), load("irc_bot")


class Peer:
    """A client of the server, and what it was sent."""

    def __init__(self, irc: Any) -> None:
        self.heard: list[str] = []
        self.client = server.Client(irc, self)

    def write(self, data: bytes) -> None:
        self.heard += data.decode().splitlines()

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("10.0.0.1", 1024)

    def says(self, *lines: str) -> list[str]:
        """Return the answers to some lines."""
        self.heard.clear()
        for line in lines:
            self.client.handle(line)
        return list(self.heard)


@pytest.fixture
def irc() -> Any:
    return server.Server()


def joined(irc: Any, nick: str) -> Peer:
    peer = Peer(irc)
    peer.says(f"NICK {nick}", f"USER {nick} 0 * :somebody", "JOIN #catch")
    return peer


def test_who_says_both_names_is_welcome(irc: Any) -> None:
    peer = Peer(irc)
    assert peer.says("NICK herder") == []
    assert " 001 herder " in peer.says("USER herder 0 * :me")[0]


def test_nobody_talks_without_a_name(irc: Any) -> None:
    assert " 451 " in Peer(irc).says("JOIN #catch")[0]


def test_names_are_taken_once(irc: Any) -> None:
    joined(irc, "herder")
    assert " 433 " in Peer(irc).says("NICK HERDER")[0]
    assert " 432 " in Peer(irc).says("NICK x:y")[0]


def test_what_is_said_in_a_channel_is_heard_by_the_others_there(irc: Any) -> None:
    herder, first, stranger = joined(irc, "herder"), joined(irc, "first"), Peer(irc)
    stranger.says("NICK stranger", "USER s 0 * :s")
    for peer in (herder, first, stranger):
        peer.heard.clear()
    herder.client.handle("PRIVMSG #catch :!who are you")
    assert first.heard == [":herder!herder@10.0.0.1 PRIVMSG #catch :!who are you"]
    assert herder.heard == stranger.heard == []
    assert " 401 " in stranger.says("PRIVMSG #catch :let me in")[0]


def test_who_comes_and_who_is_there(irc: Any) -> None:
    herder = joined(irc, "herder")
    herder.heard.clear()
    first = joined(irc, "first")
    assert herder.heard == [":first!first@10.0.0.1 JOIN #catch"]
    assert any(line.endswith("= #catch :herder first") for line in first.heard)


def test_nonsense_is_answered(irc: Any) -> None:
    peer = joined(irc, "herder")
    assert " 421 " in peer.says("DANCE wildly")[0]
    assert " 461 " in peer.says("JOIN")[0]
    assert " 403 " in peer.says("JOIN &&")[0]
    assert peer.says("PING :x") == [f":{server.NAME} PONG {server.NAME} :x"]
    assert peer.says("", "   ") == []
    assert peer.client.handle("QUIT :bye") is False


class Heard:
    """A connection that hears these lines."""

    def __init__(self, *lines: str) -> None:
        self.nick = "herder"
        self.given, self.sent = lines, []
        self.socket = self

    def settimeout(self, seconds: float | None) -> None:
        pass

    def lines(self) -> tuple[str, ...]:
        return self.given

    def send(self, line: str) -> None:
        self.sent.append(line)

    say = send


def test_the_herder_is_content_when_all_have_been_there() -> None:
    arrivals = [":irc 353 herder = #catch :herder q9bot-0", ":q9bot-1!x@h JOIN #catch"]
    answers = [":q9bot-0!x@h PRIVMSG #catch :q9bot-0 got 200 hello", ":q9bot-1!x@h PRIVMSG #catch :q9bot-1 got 200 hello"]
    done = Heard(*arrivals, *answers)
    assert bot.lead(done, 2, "http://target/", 1e9) is True
    assert done.sent == ["!who", "!fetch http://target/", "2 of 2 have been there", "QUIT"]
    assert bot.lead(Heard(*arrivals, answers[0]), 2, "http://target/", 1e9) is False
    failed = answers[1].replace(" 200 ", " nothing ")
    assert bot.lead(Heard(*arrivals, answers[0], failed), 2, "http://target/", 1e9) is False
    assert Heard(arrivals[0]).sent == []


def test_a_bot_does_what_it_is_told_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot, "fetch", lambda url: f"200 {url}")
    monkeypatch.setattr(bot.socket, "gethostname", lambda: "q9bot-0")
    told = Heard(
        *(f":herder!x@h PRIVMSG #catch :{text}" for text in ("!who", "!fetch http://target/", "!rm -rf /", "hello")), "NOTICE !who"
    )
    bot.obey(told)
    assert told.sent == ["I am q9bot-0", "q9bot-0 got 200 http://target/"]


def test_only_the_web_is_fetched() -> None:
    assert bot.fetch("file:///etc/passwd") == "file:///etc/passwd: no web page"


@pytest.mark.parametrize(("word", "kind"), [("process", "process"), ("qemu", "qemu"), ("embedded_pnode", "physical")])
def test_the_target_is_what_one_word_says(tmp_path: Path, word: str, kind: str) -> None:
    text = (DEMO / "demo.topdl").read_text(encoding="utf-8")
    head, name, target = text.rpartition("<name>target</name>")
    file = tmp_path / "demo.topdl"
    file.write_text(head + name + target.replace("<value>process</value>", f"<value>{word}</value>", 1), encoding="utf-8")
    plan = make_plan(str(file), {"physical_hosts": True}, {})
    kinds = {node.name: node.kind for node in plan.nodes}
    assert kinds.pop("target") == kind
    assert {kinds.pop(hive) for hive in ("hive-0", "hive-1")} == {"qemu"}
    assert set(kinds.values()) == {"process"}
    assert {node.carrier for node in plan.nodes if node.name.startswith("q9bot")} == {"hive-0", "hive-1"}
