"""Requests about customers."""

from dataclasses import dataclass

from meterlog.rating.v1 import rating_pb2
from services.kernel.calendar import time_zone
from services.kernel.ids import require_identifier
from services.kernel.money import currency
from services.rating.api.conversion import customer_message
from services.rating.api.page import fitting, key_after
from services.rating.api.parse_plan import parse_name
from services.rating.customer import CreateCustomer, RenameCustomer, customer, customer_stream, no_customer
from services.rating.desk import Desk
from services.rating.readmodel.catalogue import find_customer, list_customers
from services.rpc.pages import encode_token, page_size


@dataclass(frozen=True, slots=True)
class Customers:
    """Creates, shows and renames customers."""

    desk: Desk

    def create(self, request: rating_pb2.CreateCustomerRequest, timeout_s: float) -> rating_pb2.CreateCustomerResponse:
        """Create a customer, once."""
        wanted = request.customer
        key = require_identifier(wanted.key, "customer.key")
        command = CreateCustomer(
            key=key,
            display_name=parse_name(wanted.display_name, key, "customer.display_name"),
            currency=currency(wanted.currency, "customer.currency").code,
            time_zone=time_zone(wanted.time_zone or "UTC", "customer.time_zone").key,
            at=self.desk.now(),
        )
        created = self.desk.run(customer, customer_stream(key), command, timeout_s)
        assert created is not None
        return rating_pb2.CreateCustomerResponse(customer=customer_message(created))

    def get(self, request: rating_pb2.GetCustomerRequest) -> rating_pb2.GetCustomerResponse:
        """Show one customer."""
        with self.desk.books.read() as (connection, tables):
            found = find_customer(connection, tables, request.key)
        if found is None:
            raise no_customer(request.key)
        return rating_pb2.GetCustomerResponse(customer=customer_message(found))

    def list(self, request: rating_pb2.ListCustomersRequest) -> rating_pb2.ListCustomersResponse:
        """Show customers by key."""
        size, after = page_size(request.page_size), key_after(request.page_token)
        with self.desk.books.read() as (connection, tables):
            page, has_more = fitting(map(customer_message, list_customers(connection, tables, after, size + 1)), size)
        token = encode_token(page[-1].key) if has_more else ""
        return rating_pb2.ListCustomersResponse(customers=page, next_page_token=token)

    def update(self, request: rating_pb2.UpdateCustomerRequest, timeout_s: float) -> rating_pb2.UpdateCustomerResponse:
        """Give a customer another name for people."""
        key = require_identifier(request.key, "key")
        name = parse_name(request.display_name, key, "display_name") if request.HasField("display_name") else None
        command = RenameCustomer(key, name, self.desk.now())
        renamed = self.desk.run(customer, customer_stream(key), command, timeout_s)
        assert renamed is not None
        return rating_pb2.UpdateCustomerResponse(customer=customer_message(renamed))
