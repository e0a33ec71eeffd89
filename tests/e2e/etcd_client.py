"""A client of etcd that knows HTTPS, one CA and one certificate, and nothing of rackbox. A program of its own, since it
runs where the lab's clients stand: ``etcd_client.py URL CA IDENTITY put KEY VALUE | get KEY``.

IDENTITY is a directory with client.pem and client.key, or ``none``. Prints the value; exits 1 when it is refused.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT = 5.0


def main(url: str, ca: str, identity: str, verb: str, key: str, value: str = "") -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it trusts nobody until told
    context.load_verify_locations(cafile=ca)
    if identity != "none":
        context.load_cert_chain(Path(identity) / "client.pem", Path(identity) / "client.key")
    where = urlsplit(url)
    assert where.hostname
    connection = http.client.HTTPSConnection(where.hostname, where.port, timeout=TIMEOUT, context=context)
    body = {"key": _encode(key)} if verb == "get" else {"key": _encode(key), "value": _encode(value)}
    path = "/v3/kv/range" if verb == "get" else "/v3/kv/put"
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise OSError(f"{answer.status}: {text}")
    found = json.loads(text).get("kvs", [])
    return base64.b64decode(found[0]["value"]).decode() if found else ""


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except OSError as error:  # an ssl.SSLError is one
        sys.exit(f"refused: {error}")
