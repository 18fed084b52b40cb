"""Keeps gRPC from asking an HTTP proxy for what runs on this very machine."""

from collections.abc import Mapping
from typing import Final

NO_GRPC_PROXY: Final = "no_grpc_proxy"
LOOPBACK_HOSTS: Final = "127.0.0.1,localhost,::1"

_NO_PROXY: Final = ("no_proxy", "NO_PROXY")


def no_proxy_on_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable to add to an environment. gRPC reads it instead of `no_proxy`, so it holds that one's hosts, too."""
    named = [environment[name] for name in (NO_GRPC_PROXY, *_NO_PROXY) if environment.get(name)]
    return {NO_GRPC_PROXY: ",".join([*named[:1], LOOPBACK_HOSTS])}
