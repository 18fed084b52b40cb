"""The projection "webhooks": endpoints, messages, deliveries and attempts, folded from the log."""
