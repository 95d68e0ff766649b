"""Git's last words, in its C locale, as an error of ours."""

from __future__ import annotations

import re

from kerutaprep.errors import (
    CredentialsError,
    InternalError,
    InTheWayError,
    LockedError,
    NotFoundError,
    PrepError,
    ProtocolError,
    TransportError,
    WorkDirError,
)

# In this order: what decides comes before what merely follows from it. Lower case; git speaks C here.
_CLASSES: tuple[tuple[type[PrepError], re.Pattern[str], str], ...] = tuple(
    (error, re.compile("|".join(patterns), re.IGNORECASE), advice)
    for error, patterns, advice in (
        (
            InTheWayError,
            ("would be overwritten by", "untracked working tree files?", "would lose untracked files"),
            "a file is in the way of the checkout: move it",
        ),
        (
            WorkDirError,
            (
                "no space left on device",
                "disk quota exceeded",
                "read-only file system",
                "unable to (write|create) ((new|temporary|index|loose|object|sha1|pack) )*(file|directory)",
                "insufficient permission for adding an object",
                "(could not|cannot|unable to) (create|open|mkdir|write)[^:]*: (permission|operation|(not|is) a dir)",
                "cannot (create|update) .*: (file exists|not a directory|is a directory)",
                "file write error",
                "write error: ",
            ),
            "the work directory's volume: is there room, and may this user write to it?",
        ),
        (
            LockedError,
            (r"unable to create '.*\.lock': file exists", "could not lock config file .*: file exists"),
            "another git is at work in the clone",
        ),
        (
            CredentialsError,
            ("host key verification failed", "host key is known"),
            "the server's host key is not known: check what `ssh-keyscan HOST` prints, put it into a file, "
            "and give that as --ssh-known-hosts-file",
        ),
        (
            CredentialsError,
            (
                "authentication failed",
                "could not read (username|password)",
                "terminal prompts disabled",
                r"permission denied \([a-z,-]*(publickey|password|keyboard)",
                "returned error: 40[13]",
                "invalid (username|credentials)",
                "permission to .* denied",
                "remote: .*(access denied|unauthorized|forbidden|deploy key)",
                "load key .*: (error|invalid|bad)",
                "no user exists for uid",
            ),
            "check KERUTA_GIT_USERNAME and KERUTA_GIT_TOKEN, or the ssh key",
        ),
        (
            NotFoundError,
            (
                "returned error: 4(04|10)",
                "repository .* not found",
                "repository not found",
                "does not appear to be a git repository",
                "does not exist",
                "access denied or repository not exported",
                "couldn't find remote ref",
                "remote branch .* not found",
                "not our ref",
                "unadvertised object",
                "no such remote ref",
                "no url found for submodule",
                "not valid: is this a git repository",
            ),
            "check the repository's URL and the ref",
        ),
        (
            ProtocolError,
            (
                "certificate verification failed",
                "ssl certificate problem",
                "certificate signer not trusted",
                "transport '.*' not allowed",
                "mismatched algorithms",
                "redirect.*not allowed|unable to update url base from redirection",
                "dumb http transport does not support",
            ),
            "the server's certificate, protocol or redirect",
        ),
        (
            TransportError,
            (
                "could not resolve",
                "name or service not known",
                "temporary failure in name resolution",
                "failed to connect",
                "connection (was )?(refused|reset|closed|timed out)",
                "couldn't connect",
                "timed out|timeout",
                "network is unreachable|no route to host",
                "early eof|unexpected (disconnect|eof)",
                "rpc failed",
                "hung up unexpectedly|remote end hung up",
                "operation too slow",
                "returned error: (408|425|429|5[0-9]{2})",
                "transfer closed|empty reply|recv failure|send failure|broken pipe",
                "(ssl|tls|gnutls).*(error|handshake|connect)",
                "invalid index-pack output|index-pack failed|pack has bad object|pack is corrupted|bad pack header",
                "protocol error: |bad line length|expected ('|flush)|unable to access",
                "kex_exchange_identification",
            ),
            "",
        ),
    )
)


def classify(what: str, status: int, lines: list[str]) -> PrepError:
    """The error that git's last words stand for; what none of them explains is a bug."""
    said = " · ".join(_without_hints(lines)) or f"status {status}, without a word"
    text = "\n".join(lines)
    for error, pattern, advice in _CLASSES:
        if pattern.search(text):
            return error(f"{what}: {said}" + (f" ({advice})" if advice else ""))
    return InternalError(f"{what} failed with status {status}: {said}")


def _without_hints(lines: list[str]) -> list[str]:
    kept = [
        line
        for line in lines
        if not line.startswith(("hint:", "Please make sure you have", "and the repository exists"))
    ]
    return [line.removeprefix("fatal: ").removeprefix("error: ") for line in kept]
