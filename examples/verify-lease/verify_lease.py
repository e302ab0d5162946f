#!/usr/bin/env python3
"""Verifies a lease of Upkeep: verify_lease.py PRODUCT ISSUER_KEY... LEASE_KEY < shop.license.json (keys: Ed25519, hex)."""

import base64, hashlib, json, sys
from datetime import datetime, timezone
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.exceptions import InvalidSignature


def payload(envelope, kind, keys, threshold):
    """DSSE: the signatures are over the type and the bytes; only then are the bytes read."""
    document = json.loads(envelope)
    body = base64.b64decode(document["payload"], validate=True)
    wanted = f"application/vnd.upkeep.{kind}.v1+json"
    if document["payloadType"] != wanted:
        raise ValueError(f"this is no {kind}")
    message = b"DSSEv1 %d %s %d " % (len(wanted), wanted.encode(), len(body)) + body
    good = set()
    for signature in document["signatures"]:
        for key in keys:
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(base64.b64decode(signature["sig"]), message)
                good.add(key)
            except InvalidSignature:
                pass
    if len(good) < threshold:
        raise ValueError(f"the {kind} is not signed by {threshold} trusted key(s)")
    return json.loads(body)


def granted(file, product, issuers, threshold, lease_keys, now):
    """The features now; raises ValueError for what grants nothing. The key in cnf has to be proved by the agent's socket."""
    license = payload(base64.b64decode(file["license"]), "license", issuers, threshold)
    lease = payload(base64.b64decode(file["lease"]), "lease", lease_keys, 1)
    if "needs" in license or "needs" in lease or license["product"] != product:
        raise ValueError("the license is for another product, or for a later program")
    if (lease["license"], lease["rev"], lease["product"]) != (license["id"], license["rev"], product):
        raise ValueError("the lease belongs to another license")
    most = dict(license["features"])
    for option in license.get("options", {}).values():
        most.update(option["features"])
    for name, value in lease["features"].items():
        if name not in most or (value is not True and value > most[name]):
            raise ValueError("the lease grants more than the license")
    over = lambda text: text is not None and datetime.fromisoformat(text.replace("Z", "+00:00")) <= now
    fallen = lease["status"] in ("revoked", "restricted") or over(lease["graceUntil"])
    fallen = fallen or (over(lease["until"]) and license["kind"] == "trial")
    return (lease["fallback"] if fallen else lease)["features"] | {}


if __name__ == "__main__":
    name, *issuer_keys, lease_key = sys.argv[1:]
    threshold = len(issuer_keys) // 2 + 1
    print(json.dumps(granted(json.load(sys.stdin), name, issuer_keys, threshold, [lease_key], datetime.now(timezone.utc))))
