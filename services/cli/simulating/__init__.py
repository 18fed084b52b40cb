"""Makes usage that looks like that of a busy product, from a seed: `meterlog simulate`, and the benchmarks."""
