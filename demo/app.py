#!/usr/bin/python3
"""The demo: a guest book. Its pages come from any of its pods, its entries from one MariaDB.

Settings are DEMO_DATABASE (the database's host), DEMO_PASSWORD, and POD and NODE, which the page shows. In DEMO_SHARED,
a directory that all pods write to, each counts how many entries it took. ``/healthz`` says that the process answers,
``/readyz`` that the database does, ``/pods`` how many entries each pod took, ``/client`` from where it was asked.
"""

from __future__ import annotations

import html
import os
import urllib.parse
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pymysql

PORT = 8080
POD = os.environ.get("POD", "?")
NODE = os.environ.get("NODE", "?")
SHARED = os.environ.get("DEMO_SHARED", "")
SHOWN = 20
LONGEST = 200
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>rackbox guest book</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #1b2a38 }}
h1 {{ font-size: 1.6rem; margin-bottom: 0 }} .by {{ color: #667; margin-top: .2rem }}
form {{ display: flex; gap: .5rem; margin: 1.5rem 0 }} input {{ flex: 1; font: inherit; padding: .4rem .6rem }}
button {{ font: inherit; padding: .4rem 1rem }} li {{ margin: .3rem 0 }} time {{ color: #667; font-size: .85rem }}
</style></head>
<body>
<h1>Guest book</h1>
<p class="by">served by pod <b>{pod}</b> on <b>{node}</b>, kept by MariaDB {version}: {count} entries</p>
<form method="post"><input name="text" maxlength="{longest}" required placeholder="Write something">
<button>Sign</button></form>
<ul>{entries}</ul>
{takers}
</body></html>
"""


def connect() -> pymysql.Connection:
    return pymysql.connect(
        host=os.environ["DEMO_DATABASE"],
        user="demo",
        password=os.environ["DEMO_PASSWORD"],
        database="demo",
        autocommit=True,
        connect_timeout=3,
        read_timeout=10,
        write_timeout=10,
    )


def query(text: str, *values: object) -> list[tuple[object, ...]]:
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        return list(cursor.fetchall())


def count_entry() -> None:
    """Note in the shared directory that this pod took an entry: one line each, in a file of its own."""
    if SHARED:
        with (Path(SHARED) / f"{POD}@{NODE}").open("a") as stream:
            stream.write("1\n")


def read_takers() -> list[tuple[str, int]]:
    """``pod@node`` and how many entries it took, of all pods that ever took one."""
    files = sorted(Path(SHARED).glob("*@*")) if SHARED else []
    return [(file.name, file.read_text().count("\n")) for file in files]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match self.path:
            case "/healthz":
                self.answer("ok\n", "text/plain")
            case "/readyz":
                query("SELECT 1")
                self.answer("ok\n", "text/plain")
            case "/entries":
                rows = query("SELECT text FROM entries ORDER BY id")
                self.answer("".join(f"{text}\n" for (text,) in rows), "text/plain")
            case "/pods":
                self.answer("".join(f"{name} {count}\n" for name, count in read_takers()), "text/plain")
            case "/client":
                seen = self.headers.get("X-Forwarded-For", self.client_address[0])
                self.answer(f"{seen}\n", "text/plain")
            case "/":
                self.answer(self.page(), "text/html")
            case _:
                self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", 0)), 4096)
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        text = form.get("text", [""])[0].strip()[:LONGEST]
        if not text:
            self.send_error(HTTPStatus.BAD_REQUEST, "text is lacking")
            return
        query("INSERT INTO entries (text) VALUES (%s)", text)
        count_entry()
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def page(self) -> str:
        ((count, version),) = query("SELECT count(*), version() FROM entries")
        rows = query("SELECT text, written FROM entries ORDER BY id DESC LIMIT %s", SHOWN)
        entries = "".join(f"<li>{html.escape(str(text))} <time>{written}</time></li>" for text, written in rows)
        takers = ", ".join(f"{name} ({count})" for name, count in read_takers())
        return PAGE.format(
            pod=POD,
            node=NODE,
            version=html.escape(str(version)),
            count=count,
            longest=LONGEST,
            entries=entries,
            takers=f'<p class="by">taken by {html.escape(takers)}</p>' if takers else "",
        )

    def answer(self, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except pymysql.MySQLError as error:
            self.close_connection = True
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no database", str(error))

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
