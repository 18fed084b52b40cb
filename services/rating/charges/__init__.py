"""Charge models: pure functions from a charge and a quantity of units to the steps that make up the exact amount.

The quantity is never negative. Zero units cost nothing and take no step, whatever the model; only a flat price, which
knows no units, is charged all the same.
"""
