"""What the demonstration declares: the meters, the plan, eight customers with a subscription each, one endpoint."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import yaml

from services.cli.instants import instant_text

EVENT_TYPE: Final = "llm.completion"
CURRENCY: Final = "USD"
PLAN: Final = "llm"
ENDPOINT: Final = "demo-receiver"
MESSAGE_TYPE: Final = "invoice.finalized"
METERS: Final = ("requests", "input_tokens", "output_tokens", "largest_prompt")

_METERS: Final = [
    {"slug": "requests", "event_type": EVENT_TYPE, "aggregation": "count", "unit": "request"},
    {
        "slug": "input_tokens",
        "event_type": EVENT_TYPE,
        "aggregation": "sum",
        "value_property": "input_tokens",
        "unit": "token",
    },
    {
        "slug": "output_tokens",
        "event_type": EVENT_TYPE,
        "aggregation": "sum",
        "value_property": "output_tokens",
        "unit": "token",
    },
    {
        "slug": "largest_prompt",
        "event_type": EVENT_TYPE,
        "aggregation": "max",
        "value_property": "input_tokens",
        "unit": "token",
    },
]
_PRICES: Final = [
    {"key": "platform", "description": "Platform", "flat": {"amount": "20"}},
    {
        "key": "requests",
        "description": "Requests",
        "meter": "requests",
        "graduated": {"tiers": [{"up_to": "500", "unit_amount": "0"}, {"unit_amount": "0.002"}]},
    },
    {
        "key": "input_tokens",
        "description": "Input tokens",
        "meter": "input_tokens",
        "graduated": {
            "tiers": [
                {"up_to": "1000000", "unit_amount": "0.0000025"},
                {"up_to": "5000000", "unit_amount": "0.000002"},
                {"unit_amount": "0.0000015"},
            ]
        },
    },
    {
        "key": "output_tokens",
        "description": "Output tokens, in packages of 1,000",
        "meter": "output_tokens",
        "package": {"package_size": "1000", "package_amount": "0.0125"},
    },
]


def catalogue_yaml(customers: Sequence[str], subscribed_from: datetime, receiver_url: str) -> str:
    """The file that `meterlog apply` brings the services to."""
    document = {
        "meters": _METERS,
        "plans": [{"key": PLAN, "display_name": "LLM requests", "currency": CURRENCY, "prices": _PRICES}],
        "customers": [{"key": customer, "currency": CURRENCY, "time_zone": "UTC"} for customer in customers],
        "subscriptions": [
            {"key": f"{customer}-{PLAN}", "customer": customer, "plan": PLAN, "start_at": instant_text(subscribed_from)}
            for customer in customers
        ],
        "endpoints": [{"key": ENDPOINT, "url": receiver_url, "message_types": [MESSAGE_TYPE]}],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
