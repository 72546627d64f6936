"""The ranking service on Ray Serve: gRPC ingress through HAProxy, replicas on CPU or GPU. Same contract as server.py.

The only serving file that imports Ray. `serve` starts a local Ray of its own; a Ray cluster (KubeRay) imports
`services.ranking.serve_app:build` instead, with GRPC_SERVICER_FUNCTIONS in its gRPC options.
"""

import asyncio
import logging
import math
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from grpc_health.v1 import health, health_pb2
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.grpc_util import RayServegRPCContext
from ray.serve.schema import LoggingConfig

from recstack.api.ranking.v1 import ranking_pb2
from recstack.config import Settings, load_settings
from recstack.errors import NotFoundError, StackError
from recstack.logs import setup_logging
from recstack.metrics import export
from recstack.ports import free_ports
from recstack.rpc.served_call import served_call
from recstack.rpc.server import LIVE
from recstack.tracing import start_tracing, stop_tracing
from services.ranking.ray_environment import split_address

log = logging.getLogger("recstack.ranking")

APPLICATION = "ranking"
SERVICE_NAME = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
GRPC_SERVICER_FUNCTIONS = [
    "recstack.api.ranking.v1.ranking_pb2_grpc.add_RankingServiceServicer_to_server",
    "services.ranking.health_bridge.add_health_check_to_server",
]
OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray takes; requests do not pass through it
STOP_SECONDS = 5.0
REPLICAS_ON_A_MACHINE = 32  # each takes the next free port for its metrics


@contextmanager
def _answered(context: RayServegRPCContext, method: str) -> Iterator[None]:
    """Give the caller the error's own status: a bare exception would reach it as INTERNAL with a stack trace."""
    with served_call(method, context.invocation_metadata()) as call:
        try:
            yield
        except Exception as error:
            code, message = call.failed(error)
            context.set_code(code)
            context.set_details(message)
            raise


class RankingReplica:
    """One replica. Serve calls the method with the RPC's name; the service validates, batches and computes."""

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        # Here, so that Serve's controller and proxies do not load torch.
        from services.ranking.service import RankingService

        parsed = Settings(**settings)
        setup_logging(parsed)
        export(parsed.metrics, REPLICAS_ON_A_MACHINE)
        start_tracing(parsed.tracing, "recstack.ranking")
        self._loaded = asyncio.Event()
        self._service = RankingService(parsed, on_swap=self._on_swap)
        await self._service.start()

    async def _on_swap(self) -> None:
        self._loaded.set()

    async def Rank(
        self, request: ranking_pb2.RankRequest, grpc_context: RayServegRPCContext
    ) -> ranking_pb2.RankResponse:
        """See ranking.proto. The caller's deadline comes in `budget_ms`: Serve does not pass the gRPC one on."""
        with _answered(grpc_context, f"/{SERVICE_NAME}/Rank"):
            return await self._service.rank(request)

    async def Attribute(
        self, request: ranking_pb2.AttributeRequest, grpc_context: RayServegRPCContext
    ) -> ranking_pb2.AttributeResponse:
        """See ranking.proto."""
        with _answered(grpc_context, f"/{SERVICE_NAME}/Attribute"):
            return await self._service.attribute(request)

    async def GetInfo(
        self, request: ranking_pb2.GetInfoRequest, grpc_context: RayServegRPCContext
    ) -> ranking_pb2.GetInfoResponse:
        """See ranking.proto."""
        with _answered(grpc_context, f"/{SERVICE_NAME}/GetInfo"):
            return self._service.get_info()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        """grpc.health.v1: SERVING once a bundle is warm; for `live`, always."""
        with _answered(grpc_context, f"/{health.SERVICE_NAME}/Check"):
            if request.service not in ("", SERVICE_NAME, LIVE):
                raise NotFoundError(f"no service {request.service!r} here; ask for '', {LIVE} or {SERVICE_NAME}")
            status = health_pb2.HealthCheckResponse
            up = self._service.ready or request.service == LIVE
            return health_pb2.HealthCheckResponse(status=status.SERVING if up else status.NOT_SERVING)

    async def __del__(self) -> None:
        await self._service.stop()
        await asyncio.to_thread(stop_tracing)


class ClusterReplica(RankingReplica):
    """A replica that counts as started once it has a bundle.

    KubeRay moves callers to a new cluster, and removes the old one, as soon as replicas have started; and HAProxy gives
    them requests.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:  # type: ignore[misc]
        await super().__init__(settings)
        await self._loaded.wait()


def build_application(settings: Settings, replica: type = RankingReplica) -> ray_serve.Application:
    """The Serve application. Settings travel to the replicas as plain data. replica: made with them.

    Raises StackError where TLS is asked for: Serve's gRPC proxy has none, and must not serve without it in silence.
    """
    ranking = settings.ranking
    if settings.tls.certificate and not ranking.plaintext:
        raise StackError(
            "tls.certificate is set, but Ray Serve's gRPC proxy speaks no TLS: set ranking.plaintext and protect this "
            "hop in another way (docs/security.md), or serve with ranking.engine plain"
        )
    deployment: ray_serve.Deployment = ray_serve.deployment(
        name="RankingReplica",
        num_replicas=ranking.replicas,
        ray_actor_options={"num_cpus": ranking.num_cpus, "num_gpus": ranking.num_gpus},
        # A replica that is to be replaced answers until its successor does; Serve's default is the other way round.
        max_surge_percent=25,
        # The service has the bounded queues, one for Rank and one for Attribute, and refuses at once with a
        # message; Serve must let through what they hold and what computes. Its own queue is the second fence.
        max_ongoing_requests=2 * ranking.max_queued + ranking.max_batch_requests + 64,
        max_queued_requests=ranking.max_queued,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        # Below WARNING Serve makes a log record per request, also for an access log that is off: 8 % of a request.
        logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
    )(replica)
    return deployment.bind(_plain(settings))


def build(arguments: dict[str, str]) -> ray_serve.Application:
    """Application builder for Serve config files. Takes no arguments: settings come from the environment."""
    if arguments:
        raise StackError(f"got arguments {sorted(arguments)}; configure RecStack by RECSTACK_… variables instead")
    return build_application(load_settings(), ClusterReplica)


async def serve_until_signal(settings: Settings, temp_dir: Path, replica: type = RankingReplica) -> None:
    """Start a local Ray with Serve in `temp_dir`, serve until SIGTERM or SIGINT, and stop all of it.

    replica: what answers; it has the methods of `RankingReplica`.
    """
    stop = asyncio.Event()
    _stop_on_signal(stop)
    try:
        # In threads, so that a signal is noticed during the seconds that a start takes.
        await asyncio.to_thread(_start_ray, settings, temp_dir)
        _stop_on_signal(stop)  # Ray's native code has replaced the handlers by one that aborts the process
        if not stop.is_set():
            await asyncio.to_thread(_start_serve, settings, replica)
        await stop.wait()
        log.info("draining for up to %.1f s", settings.drain_seconds)
    finally:
        await asyncio.to_thread(_stop, temp_dir)


def _stop_on_signal(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(signum)
        loop.add_signal_handler(signum, stop.set)


def _start_ray(settings: Settings, temp_dir: Path) -> None:
    ranking = settings.ranking
    temp_dir.mkdir(mode=0o700)
    ray.init(
        address="local",
        num_cpus=max(1, math.ceil(ranking.replicas * ranking.num_cpus)),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(temp_dir),
    )
    asked = ranking.replicas * ranking.num_gpus
    there = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    if asked > there:  # Serve would wait for them for ever
        raise StackError(
            f"{ranking.replicas} replicas with {ranking.num_gpus} GPUs each need {asked:g} GPUs and Ray finds "
            f"{there:g}; lower RECSTACK_RANKING__NUM_GPUS (0 serves from the CPU) or RECSTACK_RANKING__REPLICAS"
        )


def _start_serve(settings: Settings, replica: type) -> None:
    host, port = split_address(settings.ranking.address)
    ray_serve.start(
        http_options=HTTPOptions(host=host, port=free_ports(1)[0]),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=GRPC_SERVICER_FUNCTIONS),
        logging_config=LoggingConfig(enable_access_log=False),
    )
    ray_serve.run(build_application(settings, replica), name=APPLICATION)
    log.info("serving %s on port %d through Ray Serve", SERVICE_NAME, port)


def _stop(temp_dir: Path) -> None:
    """Stop Serve and Ray; whatever survives that is killed, so that no process, port or folder is left."""
    processes = psutil.Process().children(recursive=True)
    try:
        if ray.is_initialized():
            ray_serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
    finally:
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS)
        for process in alive:
            log.warning("killing %s, which outlived Ray", process)
            process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
        shutil.rmtree(temp_dir, ignore_errors=True)


def _plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain data, with the paths made absolute: a replica has another working directory."""
    data = settings.model_dump(mode="json")
    data["home"] = str(settings.home.resolve())
    data["bundle"]["store"] = (
        settings.bundle_store if "://" in settings.bundle_store else str(Path(settings.bundle_store).resolve())
    )
    return data
