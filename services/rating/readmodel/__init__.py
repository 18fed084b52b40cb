"""The projection "billing": customers, plans, subscriptions, invoices and their numbers, folded from the log."""
