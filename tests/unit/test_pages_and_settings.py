"""Lists continue where they stopped; settings are checked before anything starts."""

import pytest

from services.kernel.errors import InvalidInput
from services.rpc.pages import decode_token, encode_token, page_size
from services.rpc.settings import Setting, Settings, help_text

PORT = Setting("METERLOG_PORT", "7401", "Where.")
FLAG = Setting("METERLOG_FLAG", "false", "Whether.")


def test_a_token_leads_back_to_its_sort_key() -> None:
    assert decode_token(encode_token("tenant-0", 17)) == ("tenant-0", 17)
    assert decode_token("") == ()


@pytest.mark.parametrize(
    "token", ["x", "!!!!", "bnVsbA==", "e30=", "W10=", "WzEuNV0=", "W3RydWVd", "W1tb" * 20_000, "W1tb" * 1_000]
)
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="first page"):
        decode_token(token)


def test_a_page_has_a_default_and_a_bound() -> None:
    assert page_size(0) == 100
    assert page_size(1000) == 1000
    for wrong in (-1, 1001):
        with pytest.raises(InvalidInput, match="1 to 1000"):
            page_size(wrong)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "٣", "many"])
def test_a_number_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="METERLOG_PORT"):
        Settings([PORT], {"METERLOG_PORT": text}).integer("METERLOG_PORT")


def test_a_flag_is_true_or_false() -> None:
    assert Settings([FLAG], {"METERLOG_FLAG": "TRUE"}).flag("METERLOG_FLAG")
    with pytest.raises(InvalidInput, match="true or false"):
        Settings([FLAG], {"METERLOG_FLAG": "yes"}).flag("METERLOG_FLAG")


def test_help_lists_every_setting_with_its_default() -> None:
    text = help_text("ingest", [PORT, FLAG])
    assert "METERLOG_PORT=7401" in text
    assert "Whether." in text
