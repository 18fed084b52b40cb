"""Reads files of usage and records every row once: `meterlog import`."""
