"""A certificate made here, so that browsers of the same network may use their microphones."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from sonant.errors import OutputError
from sonant.files import cache_folder
from sonant.server.settings import lan_address

DAYS = 365
RENEWED = 30
"""Days before its end that it is made anew."""


def own_certificate() -> tuple[Path, Path]:
    """Paths of a certificate for this machine's names and of its key, in the cache; made where there is none yet.

    Nobody vouches for it: each browser asks once whether to trust it. Raises `OutputError` where it cannot be kept.
    """
    from cryptography import x509

    folder = cache_folder() / "tls"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = _names()
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ends = known.not_valid_after_utc - dt.timedelta(days=RENEWED)
        if set(held) == set(names) and ends > dt.datetime.now(dt.UTC):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")  # never asks for one
            return certificate, key
    except (OSError, ValueError, x509.ExtensionNotFound):
        pass
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(names, certificate, key)
    except OSError as error:
        raise OutputError(
            f"A certificate could not be kept in {folder} ({error.strerror}); pass --cert and --key."
        ) from error
    return certificate, key


def _names() -> list[object]:
    from cryptography import x509

    host = socket.gethostname().lower()
    names: list[object] = [x509.DNSName(name) for name in dict.fromkeys(("localhost", host, f"{host}.local"))]
    addresses = filter(None, ("127.0.0.1", lan_address()))
    return [*names, *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses)]


def _make(names: list[object], certificate: Path, key: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sonant on this machine")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)  # pyright: ignore[reportArgumentType]
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    form = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret.private_bytes(form, *plain))
    certificate.write_bytes(builder.sign(secret, hashes.SHA256()).public_bytes(form))
