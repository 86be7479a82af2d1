"""One Redis node: its connection, and the commands of this product on it. The one module that talks to Redis."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from redis import Connection, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, TimeoutError  # noqa: A004 - redis-py's names
from redis.retry import Retry

from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.topology import TopologyError, View, parse_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lighthouse_redis_keeper.settings import Access

Word = str | bytes | int


class Server:
    """A connection to a node, opened when it is first needed. All methods raise NodeError."""

    def __init__(self, host: str, access: Access, *, named: bool = True) -> None:
        """`named` is whether the certificate must name `host`; within a pod it need not."""
        self.host = host
        self._access = access
        self._named = named
        self._connection: Any = None  # redis-py's connections have no types

    def ask(self, *words: Word) -> Any:
        """A command's answer: bytes, numbers and lists of them."""
        (answer,) = self.ask_all([words])
        if isinstance(answer, RedisError):
            raise NodeError(f"{self.host} refused {_shown(words)}: {answer}")
        return answer

    def ask_all(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The answers of several commands sent at once; what Redis refuses stands among them as RedisError."""
        connection = self._connected()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            return [_answer(connection) for _ in commands]
        except (RedisError, OSError) as error:
            self.close()
            raise NodeError(f"{self.host} did not answer {_shown(commands[0])}: {error}") from None

    def text(self, *words: Word) -> str:
        """A command's answer as text."""
        answer = self.ask(*words)
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    def facts(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        return _facts(self.text("INFO", section))

    def view(self, pod: int) -> View:
        """What the node says of itself and the cluster."""
        answers = self.ask_all(
            [
                ("CLUSTER", "NODES"),
                ("CLUSTER", "INFO"),
                ("INFO", "replication"),
                ("CONFIG", "GET", "syslog-ident"),
            ]
        )
        for answer in answers:
            if isinstance(answer, RedisError):
                raise NodeError(f"{self.host} does not say what it knows: {answer}")
        nodes, cluster, copying, place = answers
        replication = _facts(copying.decode())
        try:
            me, members = parse_nodes(nodes.decode())
        except TopologyError as error:
            raise NodeError(f"{self.host}: {error}") from None
        return View(
            ordinal=pod,
            # Redis has no field for where it runs; the chart writes the machine's name into this one.
            place=place[1].decode(),
            me=me,
            members=members,
            linked=not me.primary or replication.get("master_link_status") == "up",
            source=replication.get("master_host", ""),
            whole=_facts(cluster.decode()).get("cluster_state") == "ok",
        )

    def close(self) -> None:
        """Close the connection; the next command opens another."""
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                self._connection.disconnect()
            self._connection = None

    def _connected(self) -> Any:
        if self._connection is not None:
            return self._connection
        try:
            passwords = self._access.passwords()
        except OSError as error:
            raise NodeError(f"The password of {self._access.user} cannot be read: {error}") from None
        refusal = "the file has no password"
        # During a rotation a node may know only the other of two.
        for password in passwords:
            connection = self._connection_with(password)
            try:
                connection.connect()
            except AuthenticationError as error:
                refusal = str(error)
            except (RedisError, OSError) as error:
                raise NodeError(f"{self.host} cannot be reached: {error}") from None
            else:
                self._connection = connection
                return connection
        raise NodeError(f"{self.host} refuses the passwords of {self._access.user}: {refusal}")

    def _connection_with(self, password: str) -> Any:
        access = self._access
        common: dict[str, Any] = {
            "host": self.host,
            "port": access.port,
            "username": access.user,
            "password": password,
            "socket_timeout": access.seconds,
            "socket_connect_timeout": access.seconds,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if access.tls is None:
            plain: Any = Connection
            return plain(**common)
        certificate, key = access.tls / "tls.crt", access.tls / "tls.key"
        if certificate.exists():
            common |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        ca = str(access.tls / "ca.crt")
        return SSLConnection(ssl_ca_certs=ca, ssl_check_hostname=self._named, **common)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except (ConnectionError, TimeoutError):
        raise
    except RedisError as error:
        return error


def _facts(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _shown(words: Iterable[Word]) -> str:
    """The command's name alone: what follows may be a password."""
    return " ".join(str(word) for word in tuple(words)[:2])
