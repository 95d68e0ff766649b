"""Git's words and what they stand for."""

from __future__ import annotations

import pytest

from kerutaprep import (
    CredentialsError,
    InternalError,
    InTheWayError,
    NotFoundError,
    PrepError,
    ProtocolError,
    TransportError,
    WorkDirError,
)
from kerutaprep.git.diagnosis import classify


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("fatal: unable to access 'http://h/x/': Could not resolve host: h", TransportError),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 503", TransportError),
        ("fatal: unable to access 'http://h/x/': The requested URL returned error: 403", CredentialsError),
        ("fatal: repository 'http://h/x/' not found", NotFoundError),
        ("fatal: could not read Username for 'http://h': terminal prompts disabled", CredentialsError),
        ("fatal: Authentication failed for 'http://h/x/'", CredentialsError),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", CredentialsError),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", CredentialsError),
        ("ssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote", TransportError),
        ("fatal: couldn't find remote ref refs/heads/x", NotFoundError),
        ("fatal: remote error: upload-pack: not our ref 0123", NotFoundError),
        ("fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output", WorkDirError),
        ("error: unable to create file src/x: Read-only file system", WorkDirError),
        ("fatal: could not create work tree dir 'x': Permission denied", WorkDirError),
        ("error: RPC failed; curl 18 transfer closed\nfatal: early EOF\nfatal: index-pack failed", TransportError),
        ("fatal: unable to access 'https://h/': server certificate verification failed. CAfile: x", ProtocolError),
        ("fatal: transport 'ext' not allowed", ProtocolError),
        ("error: Untracked working tree file 'x' would be overwritten by merge.", InTheWayError),
        ("fatal: something nobody has seen", InternalError),
        ("", InternalError),
    ],
)
def test_gits_words_decide_the_error(said: str, error: type[PrepError]) -> None:
    """What git says last tells which kind of failure it was, and is in the message."""
    failure = classify("git fetch", 128, said.splitlines())
    assert type(failure) is error
    assert all(line.removeprefix("fatal: ").removeprefix("error: ") in str(failure) for line in said.splitlines())
