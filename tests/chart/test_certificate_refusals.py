"""Values of certificates that contradict each other or the cluster fail in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.render import RenderError

from .test_certificates import EXISTING, Values, made_by, rendered

if TYPE_CHECKING:
    from lighthouse_harness.render import Renderer


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (made_by("existing"), "existing but bridge.tls.existingSecret is empty; name the Secret"),
        (
            made_by("existing", {"bridge": {"tls": {"existingSecret": "b"}}}),
            "existing but agents.tls.existingSecret is empty; name the Secret",
        ),
        (
            made_by("own", EXISTING),
            'bridge.tls.existingSecret is "b" but global.certificates.maker is own; set',
        ),
        (
            {"certificates": {"clients": ["x"]}},
            "certificates.clients is set but global.certificates.maker is none",
        ),
        (
            made_by("own", {"certificates": {"issuer": {"kind": "vault"}}}),
            "certificates.issuer.kind is vault but global.certificates.maker is own",
        ),
        (
            made_by("cert-manager", {"certificates": {"issuer": {"kind": "vault"}}}),
            "certificates.issuer.kind is vault but certificates.issuer.vault.path is empty; set it",
        ),
        (
            made_by("cert-manager", {"certificates": {"issuer": {"existing": {"name": "x"}}}}),
            'certificates.issuer.existing.name is "x" but certificates.issuer.kind is self-made; set that to existing',
        ),
    ],
)
def test_values_that_contradict_fail_in_one_sentence(
    values: Values, sentence: str, renderer: Renderer
) -> None:
    with pytest.raises(RenderError) as refused:
        rendered(renderer, values)
    assert sentence in str(refused.value)


def test_a_cluster_without_cert_manager_is_told_so(renderer: Renderer) -> None:
    with pytest.raises(
        RenderError, match=r"needs the API cert-manager\.io/v1/Certificate, and the cluster does not"
    ):
        rendered(renderer, made_by("cert-manager"), api_versions=())
