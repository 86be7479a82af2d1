"""The roles that every cluster has, out of Kubernetes' own fixtures for them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .go_modules import module_folder
from .manifests import read_objects

if TYPE_CHECKING:
    from .model import Object

_FIXTURES = "plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata"
_FILES = ("cluster-roles.yaml", "controller-roles.yaml", "namespace-roles.yaml")


@lru_cache(maxsize=8)
def builtin_roles(version: str) -> tuple[Object, ...]:
    """The roles of a Kubernetes version such as `v1.37.2`; raises ToolError when its module cannot be had."""
    folder = module_folder("k8s.io/kubernetes", version) / _FIXTURES
    texts = [(folder / name).read_text(encoding="utf-8") for name in _FILES]
    return tuple(item for text in texts for item in read_objects(text, "kube-system"))
