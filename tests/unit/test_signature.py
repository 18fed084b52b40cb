"""Receivers verify our signatures with the libraries they have, and a secret can be had only with the master key."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.kernel.clock import SystemClock, epoch_us
from services.notifier.keyring import Keyring, WrongMasterKey
from services.notifier.signature import Secret, derive_secret, hkdf_sha256, signature, signed_headers

MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT_AT_S = 1_614_265_330
BODY = b'{"test": 2432232314}'
MASTER_KEY = bytes(range(32))
SALT = b"sixteen bytes of"


def published_secret() -> Secret:
    """The secret of the test vector in the reference implementations."""
    return Secret(base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))


def test_the_signature_is_that_of_the_published_vector() -> None:
    signed = signature(published_secret(), MESSAGE_ID, SENT_AT_S, BODY)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert published_secret().text == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_secrets_are_derived_as_rfc_5869_says() -> None:
    derived = hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert derived.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_the_package_of_receivers_verifies_body_and_headers() -> None:
    secret = derive_secret(MASTER_KEY, "books", SALT)
    body = '{"customer":"Łódź ☃"}'.encode()
    headers = signed_headers(secret, "msg_a", epoch_us(SystemClock().now()) // 1_000_000, body)
    assert Webhook(secret.text).verify(body, headers) == {"customer": "Łódź ☃"}


@pytest.mark.parametrize(
    ("body", "message_id", "late"),
    [(b"{ }", "msg_a", 0), (b"{}", "msg_b", 0), (b"{}", "msg_a", 301), (b"{}", "msg_a", -302)],
)
def test_another_body_id_or_time_is_refused(body: bytes, message_id: str, late: int) -> None:
    secret = derive_secret(MASTER_KEY, "books", SALT)
    now_s = epoch_us(SystemClock().now() - timedelta(seconds=late)) // 1_000_000
    headers = {**signed_headers(secret, "msg_a", now_s, b"{}"), "webhook-id": message_id}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.text).verify(body, headers)


def test_a_secret_differs_by_master_key_endpoint_and_salt() -> None:
    secrets = {
        derive_secret(master_key, endpoint, salt).key
        for master_key in (MASTER_KEY, MASTER_KEY[::-1])
        for endpoint in ("a", "b")
        for salt in (SALT, SALT[::-1])
    }
    assert len(secrets) == 8
    assert all(len(secret) == 32 for secret in secrets)


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = derive_secret(MASTER_KEY, "books", SALT)
    assert secret.text.removeprefix("whsec_") not in f"{secret!r} {secret}"
    assert repr(secret.key) not in repr(secret)


def test_the_keyring_recalls_what_it_created_and_tells_another_master_key() -> None:
    keyring = Keyring(MASTER_KEY)
    secret, seal = keyring.create("books", SALT)
    assert keyring.recall("books", seal) == secret
    assert keyring.problem("books", seal) == ""
    other = Keyring(MASTER_KEY[::-1])
    assert "another master key" in other.problem("books", seal)
    with pytest.raises(WrongMasterKey):
        other.recall("books", seal)
    with pytest.raises(WrongMasterKey):
        keyring.recall("others", seal)


def test_the_fingerprint_is_of_the_secret_and_short() -> None:
    _, seal = Keyring(MASTER_KEY).create("books", SALT)
    assert len(seal.fingerprint) == 8
    assert seal.fingerprint == derive_secret(MASTER_KEY, "books", SALT).fingerprint


def test_the_timestamp_is_whole_seconds() -> None:
    at_s = epoch_us(datetime(2024, 2, 1, tzinfo=UTC)) // 1_000_000
    assert signed_headers(published_secret(), "msg_a", at_s, b"")["webhook-timestamp"] == "1706745600"
