"""The standard gRPC health service: serving when every worker is ready, not serving while draining."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LIVENESS = "live"
"""Health name that says only that the process answers; use it for liveness probes, "" for readiness."""


class Health:
    """Health of the whole server (""), of each face by its full name, and of the process ("live")."""

    def __init__(self, service_names: Sequence[str]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names = ("", *service_names)

    async def register(self, server: grpc.aio.Server) -> None:
        """Add the health service to a server; alive at once, not ready yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        await self._servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(False)

    async def set_ready(self, is_ready: bool) -> None:
        """Say whether the service may be asked."""
        serving = health_pb2.HealthCheckResponse.SERVING
        state = serving if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, state)

    async def drain(self) -> None:
        """Say that nothing new is welcome, for good."""
        await self._servicer.enter_graceful_shutdown()
