"""Generated usage: the same bytes for the same seed, shaped like an hour of LLM chat."""

import csv
import hashlib

from services.cli.importing.generate import NOTICE, ROWS, generate_usage


def rows_of(path):
    with path.open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_gives_the_same_bytes_on_every_machine(tmp_path):
    generate_usage(tmp_path / "usage.csv")
    digest = hashlib.sha256((tmp_path / "usage.csv").read_bytes()).hexdigest()
    assert digest == "f03928d2dc0736d2c5ae1f7e990e5ab17816c9b8a1543170e378fea5f56e2a6b"


def test_another_seed_gives_other_usage(tmp_path):
    generate_usage(tmp_path / "a.csv", seed=1, rows=50)
    generate_usage(tmp_path / "b.csv", seed=2, rows=50)
    assert rows_of(tmp_path / "a.csv") != rows_of(tmp_path / "b.csv")


def test_it_looks_like_an_hour_of_llm_chat(tmp_path):
    generate_usage(tmp_path / "usage.csv")
    rows = rows_of(tmp_path / "usage.csv")
    times = [row["TIMESTAMP"] for row in rows]
    prompts = sorted(int(row["ContextTokens"]) for row in rows)
    answers = sorted(int(row["GeneratedTokens"]) for row in rows)
    assert len(rows) == ROWS
    assert times == sorted(times)
    assert (times[0] >= "2023-11-16 18:15:00.0000000", times[-1] < "2023-11-16 19:15:00.0000000") == (True, True)
    assert {len(time) for time in times} == {27}
    assert (prompts[0] >= 2, answers[0] >= 7) == (True, True)
    # Long tails: the mean is above the median, the largest far above both.
    assert sum(prompts) / ROWS > prompts[ROWS // 2]
    assert prompts[-1] > 5 * prompts[ROWS // 2]
    assert answers[-1] > 5 * answers[ROWS // 2]


def test_it_says_that_it_is_generated():
    assert "generated" in NOTICE
