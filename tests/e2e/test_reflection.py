"""A client that knows nothing but an address can find the services and use them."""

from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from services.cli.platform import Platform

CALL_TIMEOUT_S = 120.0
HOUR = {"start_at": "2023-11-16T12:00:00Z", "end_at": "2023-11-16T13:00:00Z"}


class GenericClient:
    """What grpcurl is: reflection, JSON in, JSON out."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> set[str]:
        return set(self._database.get_services())

    def methods(self, service: str) -> list[str]:
        return [method.name for method in self._pool.FindServiceByName(service).methods]

    def call(self, service: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        method: MethodDescriptor = self._pool.FindServiceByName(service).methods_by_name[name]
        answer_class = GetMessageClass(method.output_type)
        send: Any = self._channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        message = ParseDict(request, GetMessageClass(method.input_type)(), descriptor_pool=self._pool)
        answer = send(message, timeout=CALL_TIMEOUT_S)
        return MessageToDict(answer, preserving_proto_field_name=True, descriptor_pool=self._pool)

    def close(self) -> None:
        self._channel.close()


def test_every_service_lists_itself_its_clock_its_projections_and_its_health(shared_platform: Platform) -> None:
    for name, address in shared_platform.addresses.items():
        client = GenericClient(address)
        assert client.services() >= {
            f"meterlog.{name}.v1.{name.capitalize()}Service",
            "meterlog.common.v1.ClockService",
            "meterlog.common.v1.ProjectionService",
            "grpc.health.v1.Health",
        }
        client.close()


def test_usage_is_recorded_and_queried_through_reflection_alone(shared_platform: Platform) -> None:
    ingest = GenericClient(shared_platform.addresses["ingest"])
    aggregator = GenericClient(shared_platform.addresses["aggregator"])
    assert "RecordUsage" in ingest.methods("meterlog.ingest.v1.IngestService")

    meter = {"slug": "tokens", "event_type": "llm", "aggregation": "AGGREGATION_SUM", "value_property": "tokens"}
    aggregator.call("meterlog.aggregator.v1.AggregatorService", "CreateMeter", {"meter": meter})
    usage_event = {"id": "1", "source": "by-hand", "type": "llm", "subject": "acme", "time": "2023-11-16T12:30:00Z"}
    events = [{**usage_event, "properties": {"tokens": "12.5"}}]
    recorded = ingest.call("meterlog.ingest.v1.IngestService", "RecordUsage", {"events": events})
    (result,) = recorded["results"]
    assert result["outcome"] == "USAGE_OUTCOME_RECORDED"

    question = {"meter": "tokens", "subjects": ["acme"], **HOUR, "min_position": result["position"]}
    answer = aggregator.call("meterlog.aggregator.v1.AggregatorService", "QueryUsage", question)
    assert [row["value"] for row in answer["rows"]] == ["12.5"]
    ingest.close()
    aggregator.close()
