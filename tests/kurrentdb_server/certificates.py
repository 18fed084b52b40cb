"""An authority of one's own and a server certificate from it, so that TLS can be tested without anybody else."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.kernel.clock import SystemClock
from tests.kurrentdb_server.server import Tls

VALID_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a client must trust, and what the server shows; all PEM."""

    authority: bytes
    server: Tls


def certificates(address: str = "127.0.0.1") -> Certificates:
    """New ones, for a server at that address; good for a day."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _signed("meterlog test authority", authority_key, authority_key, None)
    key = ec.generate_private_key(ec.SECP256R1())
    server = _signed("meterlog test server", key, authority_key, address, issuer=authority.subject)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificates(authority.public_bytes(Encoding.PEM), Tls(server.public_bytes(Encoding.PEM), pem))


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    address: str | None,
    *,
    issuer: x509.Name | None = None,
) -> x509.Certificate:
    """A certificate for `address`, or that of an authority when there is none."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID_FOR)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
    )
    if address is not None:
        names: list[x509.GeneralName] = [x509.IPAddress(ip_address(address)), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())
