"""Gossip: who is in the cluster, and who leads it."""

from kurrentdbclient.protos.v1 import gossip_pb2, shared_pb2

from services.kernel.clock import SystemClock, epoch_us
from tests.kurrentdb_server.call import Call
from tests.kurrentdb_server.node import Node
from tests.kurrentdb_server.record import TICKS_PER_MICROSECOND

MemberInfo = gossip_pb2.MemberInfo


def cluster_info(node: Node, call: Call) -> gossip_pb2.ClusterInfo:
    """The members as this node knows them; nobody needs credentials for that, but wrong ones are refused."""
    call.authenticate()
    return gossip_pb2.ClusterInfo(members=[_member(member, node) for member in node.membership.nodes])


def _member(member: Node, asked: Node) -> gossip_pb2.MemberInfo:
    leads = member is asked.membership.leader
    return MemberInfo(
        instance_id=shared_pb2.UUID(string=str(member.instance_id)),
        time_stamp=epoch_us(SystemClock().now()) * TICKS_PER_MICROSECOND,
        state=MemberInfo.VNodeState.Leader if leads else MemberInfo.VNodeState.Follower,
        is_alive=member.is_alive,
        http_end_point=gossip_pb2.EndPoint(address=member.host, port=member.port),
    )
