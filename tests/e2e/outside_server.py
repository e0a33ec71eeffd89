"""The servers beyond the WAN, as a program: ``outside_server.py ADDRESS PORT NAME``.

HTTP on PORT answers each client with the address that it was seen by. DNS on port 53 (UDP, RFC 1035) answers A
questions for NAME with ADDRESS and everything else with "no such name".
"""

from __future__ import annotations

import http.server
import socket
import sys
import threading


class TellAddress(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.client_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: its output would be the test's."""


def answer(question: bytes, name: str, address: str) -> bytes:
    """The DNS message for ``question``, which holds one question and maybe more that is not looked at."""
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    asked = question[12:].lower()
    end = 12 + asked.index(b"\0") + 5
    known = asked.startswith(wire + b"\0\x01")
    flags = b"\x85\x80" if known or asked.startswith(wire) else b"\x85\x83"
    counts = b"\0\x01" + (b"\0\x01" if known else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton(address) if known else b""
    return question[:2] + flags + counts + question[12:end] + record


def serve_names(address: str, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        while True:
            question, client = server.recvfrom(4096)
            server.sendto(answer(question, name, address), client)


if __name__ == "__main__":
    own, port, known_name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    threading.Thread(target=serve_names, args=(own, known_name), daemon=True).start()
    http.server.ThreadingHTTPServer((own, port), TellAddress).serve_forever()
