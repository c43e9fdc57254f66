"""account.getPassword and auth.checkPassword: two-step verification (https://core.telegram.org/api/srp)."""

import hashlib
import hmac
import secrets
from typing import Any

from telethon.password import compute_hash
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.auth import log_in
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.handshake import PRIME, G
from saveany.sandbox.key_store import Challenge
from saveany.sandbox.world import SandboxAccount

_SIZE = 256  # bytes of a number


@handles(fn.account.GetPasswordRequest, login=False)
def get_password(context: RequestContext, request: Any) -> Any:
    """A challenge for the password, valid for one attempt."""
    account = _account(context)
    plain: dict[str, Any] = {
        "new_algo": _algorithm(secrets.token_bytes(8)),
        "new_secure_algo": tl.SecurePasswordKdfAlgoUnknown(),
        "secure_random": secrets.token_bytes(16),
    }
    if not account.password:
        return tl.account.Password(**plain)
    algorithm = _algorithm(hashlib.sha256(b"salt %d" % account.id).digest()[:16])
    verifier = pow(G, int.from_bytes(compute_hash(algorithm, account.password), "big"), PRIME)
    secret = int.from_bytes(secrets.token_bytes(_SIZE), "big")
    public = (_multiplier() * verifier + pow(G, secret, PRIME)) % PRIME
    challenge = Challenge(secrets.randbits(63), algorithm, verifier, secret, public)
    context.key.challenge = challenge
    return tl.account.Password(
        has_password=True,
        current_algo=algorithm,
        srp_B=_long(public),
        srp_id=challenge.id,
        hint="as the sandbox says",
        **plain,
    )


@handles(fn.auth.CheckPasswordRequest, login=False)
def check_password(context: RequestContext, request: Any) -> Any:
    """Finish a login that was started with a code or a scanned QR code."""
    account, challenge, proof = _account(context), context.key.challenge, request.password
    context.key.challenge = None
    if isinstance(proof, tl.InputCheckPasswordEmpty):
        raise RpcFailure(400, "PASSWORD_HASH_INVALID")
    if challenge is None or proof.srp_id != challenge.id:
        raise RpcFailure(400, "SRP_ID_INVALID")
    if not hmac.compare_digest(_expected(challenge, proof.A), proof.M1):
        raise RpcFailure(400, "PASSWORD_HASH_INVALID")
    context.key.awaiting_password = None
    return log_in(context, account)


def _account(context: RequestContext) -> SandboxAccount:
    """The account that is logged in with this key, or whose login still needs the password."""
    pending = context.key.awaiting_password
    return context.account if pending is None else context.world.accounts[pending]


def _expected(challenge: Challenge, public: bytes) -> bytes:
    """M1 of the protocol; computing it requires the password."""
    theirs = int.from_bytes(public, "big")
    if not 0 < theirs < PRIME:
        raise RpcFailure(400, "PASSWORD_HASH_INVALID")
    ours = _long(challenge.public)
    scramble = int.from_bytes(_sha256(_long(theirs), ours), "big")
    shared = pow(theirs * pow(challenge.verifier, scramble, PRIME), challenge.secret, PRIME)
    mixed = bytes(a ^ b for a, b in zip(_sha256(_long(PRIME)), _sha256(_long(G)), strict=True))
    salts = (_sha256(challenge.algorithm.salt1), _sha256(challenge.algorithm.salt2))
    return _sha256(mixed, *salts, _long(theirs), ours, _sha256(_long(shared)))


def _algorithm(salt: bytes) -> Any:
    return tl.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
        salt1=salt, salt2=salt[::-1], g=G, p=_long(PRIME)
    )


def _multiplier() -> int:
    return int.from_bytes(_sha256(_long(PRIME), _long(G)), "big")


def _long(number: int) -> bytes:
    return number.to_bytes(_SIZE, "big")


def _sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
