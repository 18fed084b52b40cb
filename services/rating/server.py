"""The gRPC face of rating: one line a method."""

import grpc

from meterlog.rating.v1 import rating_pb2, rating_pb2_grpc
from services.rating.api.customers import Customers
from services.rating.api.invoices import Invoices
from services.rating.api.plans import Plans
from services.rating.api.subscriptions import Subscriptions
from services.rpc.deadline import time_left_s

RATING_SERVICE = "meterlog.rating.v1.RatingService"


class RatingFace(rating_pb2_grpc.RatingServiceServicer):
    """Hands each request to the noun that it is about. Handlers block, so they run in the thread pool."""

    def __init__(self, customers: Customers, plans: Plans, subscriptions: Subscriptions, invoices: Invoices) -> None:
        self._customers = customers
        self._plans = plans
        self._subscriptions = subscriptions
        self._invoices = invoices

    def register(self, server: grpc.aio.Server) -> None:
        """Add this face to a server."""
        rating_pb2_grpc.add_RatingServiceServicer_to_server(self, server)

    def CreateCustomer(
        self, request: rating_pb2.CreateCustomerRequest, context: grpc.ServicerContext
    ) -> rating_pb2.CreateCustomerResponse:
        """Create a customer."""
        return self._customers.create(request, time_left_s(context))

    def GetCustomer(
        self, request: rating_pb2.GetCustomerRequest, context: grpc.ServicerContext
    ) -> rating_pb2.GetCustomerResponse:
        """One customer."""
        return self._customers.get(request)

    def ListCustomers(
        self, request: rating_pb2.ListCustomersRequest, context: grpc.ServicerContext
    ) -> rating_pb2.ListCustomersResponse:
        """Customers by key."""
        return self._customers.list(request)

    def UpdateCustomer(
        self, request: rating_pb2.UpdateCustomerRequest, context: grpc.ServicerContext
    ) -> rating_pb2.UpdateCustomerResponse:
        """Rename a customer."""
        return self._customers.update(request, time_left_s(context))

    def CreatePlan(
        self, request: rating_pb2.CreatePlanRequest, context: grpc.ServicerContext
    ) -> rating_pb2.CreatePlanResponse:
        """Create a plan, version 1."""
        return self._plans.create(request, time_left_s(context))

    def PublishPlanVersion(
        self, request: rating_pb2.PublishPlanVersionRequest, context: grpc.ServicerContext
    ) -> rating_pb2.PublishPlanVersionResponse:
        """Publish a plan's next version."""
        return self._plans.publish(request, time_left_s(context))

    def GetPlan(self, request: rating_pb2.GetPlanRequest, context: grpc.ServicerContext) -> rating_pb2.GetPlanResponse:
        """One version of a plan."""
        return self._plans.get(request)

    def ListPlans(
        self, request: rating_pb2.ListPlansRequest, context: grpc.ServicerContext
    ) -> rating_pb2.ListPlansResponse:
        """The newest version of each plan."""
        return self._plans.list(request)

    def CreateSubscription(
        self, request: rating_pb2.CreateSubscriptionRequest, context: grpc.ServicerContext
    ) -> rating_pb2.CreateSubscriptionResponse:
        """Subscribe a customer to a plan."""
        return self._subscriptions.create(request, time_left_s(context))

    def GetSubscription(
        self, request: rating_pb2.GetSubscriptionRequest, context: grpc.ServicerContext
    ) -> rating_pb2.GetSubscriptionResponse:
        """One subscription."""
        return self._subscriptions.get(request)

    def ListSubscriptions(
        self, request: rating_pb2.ListSubscriptionsRequest, context: grpc.ServicerContext
    ) -> rating_pb2.ListSubscriptionsResponse:
        """Subscriptions by key."""
        return self._subscriptions.list(request)

    def CancelSubscription(
        self, request: rating_pb2.CancelSubscriptionRequest, context: grpc.ServicerContext
    ) -> rating_pb2.CancelSubscriptionResponse:
        """End a subscription with its period."""
        return self._subscriptions.cancel(request, time_left_s(context))

    def GetInvoice(
        self, request: rating_pb2.GetInvoiceRequest, context: grpc.ServicerContext
    ) -> rating_pb2.GetInvoiceResponse:
        """One invoice."""
        return self._invoices.get(request, time_left_s(context))

    def ListInvoices(
        self, request: rating_pb2.ListInvoicesRequest, context: grpc.ServicerContext
    ) -> rating_pb2.ListInvoicesResponse:
        """Invoices by period."""
        return self._invoices.list(request)

    def FinalizeInvoice(
        self, request: rating_pb2.FinalizeInvoiceRequest, context: grpc.ServicerContext
    ) -> rating_pb2.FinalizeInvoiceResponse:
        """Finalize a draft now."""
        return self._invoices.finalize(request, time_left_s(context))
