"""An invoice as a person reads it: the file beside this test says, line by line, what a month costs and why."""

from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from meterlog.rating.v1 import rating_pb2
from meterlog.rating.v1.rating_pb2 import GraduatedCharge, PackageCharge, PerUnitCharge, Price, Tier, VolumeCharge
from services.kernel.timestamp import from_timestamp
from tests.rating_room import flat, open_room

GOLDEN = Path(__file__).parent / "invoices"

PRICES = (
    flat("20"),
    Price(
        key="requests",
        description="Requests",
        meter="requests",
        graduated=GraduatedCharge(
            tiers=[Tier(up_to="500", unit_amount="0"), Tier(unit_amount="0.002", flat_amount="1.5")]
        ),
    ),
    Price(
        key="input",
        description="Input tokens",
        meter="input_tokens",
        graduated=GraduatedCharge(
            tiers=[
                Tier(up_to="1000000", unit_amount="0.0000025"),
                Tier(up_to="5000000", unit_amount="0.000002"),
                Tier(unit_amount="0.0000015"),
            ]
        ),
    ),
    Price(
        key="output",
        description="Output tokens",
        meter="output_tokens",
        package=PackageCharge(package_size="1000", package_amount="0.0125"),
    ),
    Price(key="support", description="Support", meter="requests", per_unit=PerUnitCharge(unit_amount="0.00005")),
    Price(
        key="volume",
        description="Traffic",
        meter="input_tokens",
        volume=VolumeCharge(tiers=[Tier(up_to="1000000", unit_amount="0.000001"), Tier(unit_amount="0.0000005")]),
    ),
)


def test_an_invoice_reads_as_it_always_did(tmp_path: Path) -> None:
    with open_room(tmp_path) as room:
        room.plan(*PRICES)
        room.customer("acme")
        room.subscribe("acme")
        room.record("acme", "requests", "2024-01-03T10:00", "2421")
        room.record("acme", "input_tokens", "2024-01-03T10:00", "5123456")
        room.record("acme", "output_tokens", "2024-01-31T23:59", "511083.5")
        room.advance("2024-02-01T01:00")
        room.bill()
        (invoice,) = room.listed(state=rating_pb2.INVOICE_STATE_FINALIZED)
    assert as_text(invoice) == (GOLDEN / "month_of_every_charge_model.txt").read_text()


def as_text(invoice: rating_pb2.Invoice) -> str:
    period = f"{day(invoice.period_start_at)} to {day(invoice.period_end_at)}"
    lines = [f"Invoice {invoice.number} of {invoice.customer}, {period}", ""]
    for line in invoice.lines:
        lines.append(f"{line.description:<20}{line.quantity:>16}{line.amount:>14} {invoice.currency}")
        lines += [
            f"    {step.description:<40}{step.quantity:>12} x {step.unit_amount} = {step.amount}" for step in line.steps
        ]
    lines.append(f"{'Total':<36}{invoice.total:>14} {invoice.currency}")
    return "\n".join(lines) + "\n"


def day(timestamp: Timestamp) -> str:
    return from_timestamp(timestamp).date().isoformat()
