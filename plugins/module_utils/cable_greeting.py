# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the two ends of a cable by TCP or UDP prove to each other that they know the cable's secret, which never crosses the network.

Copied beside the supervisor (`cable_keeper.py`), so it needs nothing but the standard library. Each proof is an HMAC over numbers that both
ends have just drawn: what was overheard proves nothing later, and what an end sent is no proof when it comes back to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import socket

# Bytes of a number that is drawn for one greeting, of one for all greetings of an end, and of a proof.
NONCE, SESSION, PROOF = 32, 16, 32
PLUGGED, UNPLUGGED = b"+", b"-"


class Stranger(Exception):
    """Not the other end of this cable; the text says what gives it away."""


def proof(secret: bytes, *words: bytes) -> bytes:
    """Return what only those can say who know the secret; no two lists of words have the same."""
    return hmac.new(secret, b"".join(len(word).to_bytes(2, "big") + word for word in words), hashlib.sha256).digest()


async def dial(connection: socket.socket, secret: bytes) -> None:
    """Prove that we are the dialling end of the cable, and let the other prove that it listens. Raises Stranger."""
    challenge = await exactly(connection, NONCE)
    nonce = os.urandom(NONCE)
    if len(challenge) == NONCE:
        await asyncio.get_running_loop().sock_sendall(connection, nonce + proof(secret, b"dial", challenge, nonce))
    answer = await exactly(connection, PROOF)
    if not answer:
        raise Stranger("turned away")
    if not hmac.compare_digest(answer, proof(secret, b"listen", challenge, nonce)):
        raise Stranger("it is not the other end of this cable")


async def listen(connection: socket.socket, secret: bytes) -> None:
    """Let the one that dialled prove that it is the cable's other end, and then prove the same. Raises Stranger."""
    challenge = os.urandom(NONCE)
    await asyncio.get_running_loop().sock_sendall(connection, challenge)
    said = await exactly(connection, NONCE + PROOF)
    nonce = said[:NONCE]
    if not hmac.compare_digest(said[NONCE:], proof(secret, b"dial", challenge, nonce)):
        raise Stranger("it is not the other end of this cable")
    await asyncio.get_running_loop().sock_sendall(connection, proof(secret, b"listen", challenge, nonce))


async def exactly(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes and not one more; fewer when the connection ends."""
    heard = b""
    while len(heard) < count:
        piece = await asyncio.get_running_loop().sock_recv(connection, count - len(heard))
        if not piece:
            break
        heard += piece
    return heard


def ask(secret: bytes, session: bytes) -> tuple[bytes, bytes]:
    """Return a datagram that asks the other end how it is, and the number in it that the answer must be about."""
    nonce = os.urandom(NONCE)
    return nonce, nonce + session + proof(secret, b"ask", nonce, session)


def asked(secret: bytes, datagram: bytes) -> tuple[bytes, bytes] | None:
    """Return number and session of one that asks; None when it does not know the secret."""
    nonce, session, said = datagram[:NONCE], datagram[NONCE : NONCE + SESSION], datagram[NONCE + SESSION :]
    return (nonce, session) if hmac.compare_digest(said, proof(secret, b"ask", nonce, session)) else None


def answer(secret: bytes, question: tuple[bytes, bytes], session: bytes, plugged: bool) -> bytes:
    """Return the datagram that answers: whether our end is plugged in."""
    state = PLUGGED if plugged else UNPLUGGED
    return state + session + proof(secret, b"answer", *question, session, state)


def answered(secret: bytes, question: tuple[bytes, bytes], datagram: bytes) -> tuple[bytes, bool]:
    """Return the session of the other end, and whether it is plugged in. Raises Stranger."""
    state, session, said = datagram[:1], datagram[1 : 1 + SESSION], datagram[1 + SESSION :]
    if session == question[1] or not hmac.compare_digest(said, proof(secret, b"answer", *question, session, state)):
        raise Stranger("it is not the other end of this cable")
    return session, state == PLUGGED
