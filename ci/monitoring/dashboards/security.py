"""Security: who attacks or asks too much, what is refused, and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import (
    BRIDGE,
    DRIVER,
    NAMESPACES,
    dashboard,
    graph,
    over,
    rate,
    row,
    under,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

REQUESTS = "lighthouse_bridge_http_requests_total"
EXPIRY = "certmanager_certificate_expiration_timestamp_seconds"
READY = "certmanager_certificate_ready_status"
# As an operator's monitor of cert-manager labels it, and with `honorLabels`.
CERTIFICATES = tuple(f'{label}=~"{NAMESPACES}"' for label in ("exported_namespace", "namespace"))


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "security", "Security", "Who attacks or asks too much, what is refused, and certificates."
    )
    row(
        made,
        "Requests",
        graph(
            "What only an attacker or a defect sends",
            "In ten minutes, by kind. Dashed: the threshold of SecurityViolations.",
            units.Short,
            {
                "{{kind}}": "sum by (kind) "
                f"(increase(lighthouse_bridge_security_violations_total{{{BRIDGE}}}[10m]))"
            },
            limit=over("securityViolations"),
        ),
        graph(
            "Refused for asking too much",
            "Requests a second, by limit. Dashed: the threshold of RequestsLimited.",
            units.RequestsPerSecond,
            {"{{limit}}": rate("lighthouse_bridge_requests_limited_total", BRIDGE, by="limit")},
            limit=over("requestsLimited"),
        ),
        graph(
            "Refused for who asks",
            "Requests a second without a valid session or without the right, by route.",
            units.RequestsPerSecond,
            {"{{route}}: {{code}}": rate(REQUESTS, f'{BRIDGE},code=~"401|403"', by="route, code")},
        ),
        graph(
            "New sessions",
            "In an hour, by role.",
            units.Short,
            {
                "{{role}}": f"sum by (role) (increase(lighthouse_bridge_sessions_created_total{{{BRIDGE}}}[1h]))"
            },
        ),
        graph(
            "Blocked calls",
            "Validations a second that were blocked, by the tier that did it.",
            units.RequestsPerSecond,
            {
                "{{tier}}": rate(
                    "lighthouse_bridge_validation_duration_seconds_count",
                    f'{BRIDGE},decision="blocked"',
                    by="tier",
                )
            },
        ),
        graph(
            "Refused by drivers",
            "Dials of sidecars a second that a CSI driver refused, by kind.",
            units.OpsPerSecond,
            {"{{kind}}": rate("lighthouse_csi_fd_handoffs_total", f'{DRIVER},result="refused"', by="kind")},
        ),
    )
    row(
        made,
        "Rules and certificates",
        graph(
            "Broken rules or certificates",
            "Bridges with such files on disk, which keep the former. Dashed: the threshold of BridgeCertificateBroken.",
            units.Short,
            {
                "rules": f"sum(lighthouse_bridge_rules_broken{{{BRIDGE}}})",
                "certificate": f"sum(lighthouse_bridge_certificate_broken{{{BRIDGE}}})",
            },
            limit=over("bridgeCertificateBroken"),
        ),
        graph(
            "Until certificates expire",
            "Days, as cert-manager sees it; 0 for one that has. Dashed: the threshold of CertificateExpiring.",
            units.Days,
            {
                "{{name}}": "clamp_min(("
                + " or ".join(f"{EXPIRY}{{{selector}}} > 0" for selector in CERTIFICATES)
                + ") / 86400 - time() / 86400, 0)"
            },
            limit=under("certificateExpiring"),
        ),
        graph(
            "Certificates that are not ready",
            "As cert-manager sees it. Dashed: the threshold of CertificateNotReady.",
            units.Short,
            {
                "not ready": "sum("
                + " or ".join(f'{READY}{{{selector},condition!="True"}}' for selector in CERTIFICATES)
                + ")"
            },
            limit=over("certificateNotReady"),
        ),
    )
    return made
