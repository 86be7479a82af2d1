"""The ASGI application: finds the route, checks who calls and what is sent, answers, counts and logs."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from . import metrics, tracing
from .entrance import enter, require_signature
from .exchange import Call, Reply, StreamReply, bearer_of, send_reply
from .logs import log, serving
from .messages import ErrorAnswer
from .problems import Problem, StoreUnavailableError
from .websocket import serve_socket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .bridge import Bridge
    from .exchange import Receive, Send
    from .route import Route

# docs/streams.md describes what is said there: OpenAPI has no words for it.
SOCKET_PATH = "/ws/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/health/startup", "/ready"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What metrics say of requests with another method, of unknown paths, and of known ones with a wrong method.
OTHER_METHOD, UNMATCHED, WRONG_METHOD = "other", "unmatched", "wrong-method"
_HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class Application:
    """The bridge as an ASGI application."""

    def __init__(self, bridge: Bridge, routes: Sequence[Route]) -> None:
        self._bridge = bridge
        by_path: dict[str, list[Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, []).append(route)
            for status in {500, *route.statuses}:
                if status >= 500:
                    metrics.child(metrics.requests, route.method, route.path, str(status))
        endpoints = {path: _Endpoint(self, same) for path, same in by_path.items()}
        # Most requests are for paths without parameters: finding those needs no search.
        self._literal = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
        self._router = Router(
            [StarletteRoute(path, endpoint, methods=None) for path, endpoint in endpoints.items()],
            redirect_slashes=False,
            default=self._unknown,
        )
        self.open_requests = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope["path_params"] = {}
            await self._literal.get(scope["path"], self._router)(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)

    async def _serve_socket(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        agent_id = scope["path"].removeprefix(SOCKET_PATH)
        call = _call(scope, receive)
        mark = serving.set(call)
        self.open_requests += 1
        try:
            await serve_socket(self._bridge, call, agent_id, send)
        except Exception:
            log.exception("socket failed", path=scope["path"][:200])
        finally:
            self.open_requests -= 1
            serving.reset(mark)

    async def _unknown(self, scope: Any, receive: Receive, send: Send) -> None:
        await self.serve(None, scope, receive, send, f"There is no {scope['path'][:200]!r} here.")

    async def serve(
        self,
        route: Route | None,
        scope: Any,
        receive: Receive,
        send: Send,
        refusal: str = "",
        allow: str = "",
    ) -> None:
        """Answer one request by its route, or refuse it: 405 when `allow` lists methods, else 404."""
        started = time.perf_counter()
        call = _call(scope, receive)
        mark = serving.set(call)
        self.open_requests += 1
        metrics.requests_open.inc()
        status = 500
        try:
            if route is None:
                headers = (("Allow", allow),) if allow else ()
                answer: Reply | StreamReply = _error(Problem(405 if allow else 404, refusal, headers))
            else:
                answer = await self._answer(route, call)
            await call.discard_body()
            http_1 = scope.get("http_version", "").startswith("1")
            status = await self._send(answer, send, receive, call.request_id, http_1=http_1)
        except Exception:
            # Only a client that left, or a defect: either way there is nobody to answer properly.
            log.exception("request failed", path=scope["path"][:200])
        finally:
            self.open_requests -= 1
            metrics.requests_open.dec()
            self._record(route, call, status, time.perf_counter() - started, bool(allow))
            serving.reset(mark)

    def _record(self, route: Route | None, call: Call, status: int, seconds: float, known: bool) -> None:
        method = call.scope["method"]
        label = method if method in METHODS else OTHER_METHOD
        template = route.path if route else WRONG_METHOD if known else UNMATCHED
        metrics.child(metrics.requests, label, template, str(status)).inc()
        if template != "/events/stream":
            metrics.child(metrics.request_seconds, template).observe(seconds)
        quiet = template in PROBES and status == 200
        (log.debug if quiet else log.info)(
            "request",
            method=label,
            path=call.scope["path"][:500],
            route=template,
            status=status,
            agent_id=None,
            duration_ms=round(seconds * 1000, 3),
        )

    async def _answer(self, route: Route, call: Call) -> Reply | StreamReply:
        try:
            _check_host(call)
            if not route.public:
                await self._authorise(route, call)
                with tracing.request(call, route):
                    answer = await self._handle(route, call)
                    tracing.note(http__response__status_code=getattr(answer, "status", 200))
                    return answer
            return await self._handle(route, call)
        except Problem as problem:
            return _error(problem)
        except StoreUnavailableError as error:
            return _error(Problem(503, _sentence(str(error)), (("Retry-After", "1"),)))
        except Exception:
            log.exception("handler failed", route=route.path)
            return _error(Problem(500, f"The bridge failed on this request; its log has {call.request_id}."))

    async def _handle(self, route: Route, call: Call) -> Reply | StreamReply:
        call.parameters = _path_parameters(call)
        if route.query is not None:
            call.query = _query(call.scope["query_string"], route.query)
        if route.has_body:
            call.body = await _body(call, route)
        if route.signed:
            await require_signature(self._bridge, call)
        return await route.handle(self._bridge, call)

    async def _authorise(self, route: Route, call: Call) -> None:
        session = await enter(self._bridge, call.scope, call.headers, counted=route.counted)
        call.session_ = session
        if route.role is not None and session.role < route.role:
            raise Problem(
                403, f"This needs the role {route.role.label!r}; the session has {session.role.label!r}."
            )

    async def _send(
        self, answer: Reply | StreamReply, send: Send, receive: Receive, request_id: str, *, http_1: bool
    ) -> int:
        headers = [
            (b"x-request-id", request_id.encode()),
            (b"cache-control", b"no-store"),
            (b"server", b"lighthouse"),
        ]
        if self._bridge.draining and http_1:
            # Whoever keeps its connection for another request would lose that one.
            headers.append((b"connection", b"close"))
        if isinstance(answer, Reply):
            await send_reply(send, answer, headers)
            return answer.status
        await _send_stream(answer, send, receive, headers, self._bridge.settings.slow_reader_seconds)
        return 200


class _Endpoint:
    """All methods of one path."""

    def __init__(self, application: Application, routes: list[Route]) -> None:
        self._application = application
        self._routes = {route.method: route for route in routes}
        self._allow = ", ".join(sorted(self._routes))

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["method"])
        refusal = f"{scope['method'][:16]} is not possible on this path; use {self._allow}."
        allow = "" if route else self._allow
        await self._application.serve(route, scope, receive, send, refusal, allow)


def _call(scope: Any, receive: Receive) -> Call:
    """The request with its id: the client's, if that is fit for headers and logs, else a new one."""
    call = Call(scope, receive)
    given = call.header("x-request-id")
    call.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    return call


def _check_host(call: Call) -> None:
    # Servers before this one may have chosen by another Host than the one seen here (RFC 9112, 3.2).
    hosts = [value for name, value in call.scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        shown = b", ".join(hosts)[:100].decode("latin-1") or "none"
        raise Problem(
            400, f"The request names the host {shown!r}; send one Host header with a name or address."
        )


def bearer(call: Call) -> str:
    """The bearer token of a request, or an empty text."""
    return bearer_of(call.headers)


def _path_parameters(call: Call) -> dict[str, str]:
    # The server replaces bytes that are not UTF-8; another file's name must not be made of them.
    raw = call.scope.get("raw_path") or b""
    try:
        unquote_to_bytes(raw.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise Problem(
            400, "The URL's path is not UTF-8; percent-encode the UTF-8 bytes of the name."
        ) from None
    return dict(call.scope["path_params"])


def _query(raw: bytes, kind: type) -> Any:
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=32,
        )
    except ValueError:
        raise Problem(422, "The query is malformed; write it as name=value pairs in UTF-8.") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Problem(422, "The query names a parameter twice; name each once.")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(422, f"The query is refused: {_sentence(str(error))}") from None


async def _body(call: Call, route: Route) -> Any:
    content_type = call.header("content-type").partition(";")[0].strip().lower()
    if content_type not in {"application/json", ""} or (content_type == "" and not route.body_optional):
        shown = content_type[:64] or "missing"
        raise Problem(415, f"The content type is {shown!r}; send application/json.")
    raw = call.raw_body = await call.read_body(route.body_limit)
    if not raw and route.body_optional:
        return route.body[0]()
    return decode_body(raw, route.body)


def decode_body(raw: bytes, kinds: tuple[type, ...]) -> Any:
    """Decode a JSON body as the first of `kinds` that it fits; raises Problem 400 or 422."""
    for kind in kinds:
        # What is wrong is found out below, for the kind whose fields the body names.
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return decoder(kind).decode(raw)
    return _refuse_body(raw, kinds)


@cache
def decoder(kind: type) -> msgspec.json.Decoder[Any]:
    """The decoder of a type; making one is dear."""
    return msgspec.json.Decoder(kind)


def _refuse_body(raw: bytes, kinds: tuple[type, ...]) -> Any:
    try:
        try:
            return decoder(_choose(msgspec.json.decode(raw), kinds)).decode(raw)
        except msgspec.ValidationError as error:
            # A wrong field may stand before a syntax error, which counts more.
            msgspec.json.decode(raw)
            raise Problem(422, f"The body is refused: {_sentence(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"The body is not valid JSON: {_sentence(str(error))}") from None
    except RecursionError:
        raise Problem(400, "The body is nested too deep; send it flatter.") from None


def _choose(value: Any, kinds: tuple[type, ...]) -> type:
    names: Mapping[str, Any] = value if isinstance(value, dict) else {}
    for kind in kinds[:-1]:
        if msgspec.structs.fields(kind)[0].encode_name in names:
            return kind
    return kinds[-1]


def _error(problem: Problem) -> Reply:
    body = msgspec.json.encode(ErrorAnswer(problem.detail))
    return Reply(body, status=problem.status, headers=problem.headers)


def _sentence(text: str) -> str:
    text = text[:500]
    return (text[:1].upper() + text[1:]).rstrip(".") + "."


async def _send_stream(
    answer: StreamReply, send: Send, receive: Receive, headers: list[tuple[bytes, bytes]], patience: float
) -> None:
    start_headers = [(b"content-type", answer.media_type.encode()), (b"x-accel-buffering", b"no"), *headers]
    left = asyncio.create_task(_until_disconnect(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": start_headers})
        iterator = aiter(answer.chunks)
        while True:
            step = asyncio.ensure_future(anext(iterator, None))
            await asyncio.wait({step, left}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                break
            chunk = step.result()
            if chunk is None:
                break
            sending = asyncio.ensure_future(send(_piece(chunk)))
            await asyncio.wait({sending, left}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() and not left.done():
                metrics.stream_dropped.inc()
                # Once more the same patience: a reader that goes on by then learns why it is dropped.
                await asyncio.wait({sending, left}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    sending.cancel()
                    return
                chunk = answer.dropped()
                sending = asyncio.ensure_future(send(_piece(chunk)))
                await asyncio.wait({sending, left}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                break
            if left.done():
                sending.cancel()
                break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        left.cancel()
        answer.on_close()


def _piece(chunk: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
