"""API servers of their own for the tests of policies: what one of them refuses must not be in another's way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.api_server import ApiServer, find_program
from lighthouse_harness.render import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lighthouse_harness.model import Object


@contextmanager
def server_with(namespaces: Sequence[str], objects: Sequence[Object]) -> Iterator[ApiServer]:
    """A server that has these namespaces and, of a render, these objects; skips where its programs are missing."""
    try:
        programs = find_program("etcd"), find_program("kube-apiserver")
    except ToolError as error:
        pytest.skip(str(error))
    with ApiServer(*programs) as server:
        for name in namespaces:
            server.add_namespace(name, {})
        for item in objects:
            answer = server.apply(item, dry_run=False)
            assert answer.accepted, answer.message
        yield server
