"""A run of pytest in a process of its own tells which tests failed, and why."""

from pathlib import Path

from tests.steadiness import Run, pytest_run


def test_pytest_tells_which_tests_failed_in_which_phase(tmp_path: Path) -> None:
    suite = tmp_path / "test_sample.py"
    suite.write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken():\n"
        "    raise ValueError('no ground to stand on')\n"
        "@pytest.mark.parametrize('n', [0, 1])\n"
        "def test_counts(n):\n"
        "    assert n == 0, 'off by one'\n"
        "def test_stands(broken):\n"
        "    pass\n"
    )
    arguments = ["-q", "-p", "no:cacheprovider", "--no-header", "--no-summary"]
    run = pytest_run(arguments, [str(suite)])
    names = {name.rpartition("::")[2]: text for name, text in run.failures.items()}
    assert run.code == 1
    assert names.keys() == {"test_counts[1]", "test_stands"}
    assert "off by one" in names["test_counts[1]"]
    assert "no ground to stand on" in names["test_stands"]
    assert pytest_run(arguments, [f"{suite}::test_counts[0]"]) == Run(0)
