"""Signs what schemathesis sends to the routes that want it, so that it gets past their door.

Loaded by schemathesis (SCHEMATHESIS_HOOKS), in its own process.
"""

import os
import secrets
import time
from typing import Any

import requests
import schemathesis

from lighthouse_bridge.signatures import sign

TOKEN, AGENT = os.environ["FUZZ_TOKEN"], os.environ["FUZZ_AGENT"]


class _Signed(requests.auth.AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else body
        if not isinstance(content, bytes):
            return request
        nonce, path = secrets.token_hex(16), request.path_url.partition("?")[0]
        signature = sign(TOKEN, AGENT, str(request.method), path, content, nonce, int(time.time()))
        request.headers["X-Lighthouse-Signature"] = signature
        return request


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Sign half of the signed messages; the others show what an unsigned one is answered."""
    if case.path.startswith("/elicitation/") and case.method.upper() == "POST" and secrets.randbelow(2):
        kwargs["auth"] = _Signed()


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Leave out the one tuple: schemathesis writes prefixItems as an older draft does and then finds that invalid.

    Answers of the route are checked against it in test_openapi.
    """
    raw_schema["components"]["schemas"]["TreeAnswer"]["properties"]["files"] = {"type": "array"}
