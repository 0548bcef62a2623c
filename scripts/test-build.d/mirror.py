#!/usr/bin/env python3
"""mirror.py FOLDER LOG [CERTIFICATE KEY]: a mirror and a proxy on free ports of the loopback address.

Prints the two ports, then serves until its input ends: FOLDER's files, over TLS where a certificate
is given, and an HTTP proxy that leads whatever name is asked for to that mirror. LOG gets a line for
each request of the proxy.
"""
import functools
import http.server
import select
import socket
import ssl
import sys
import threading
import urllib.parse

folder, log = sys.argv[1:3]


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass


class Proxy(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def note(self):
        with open(log, "a", encoding="utf-8") as lines:
            lines.write(self.requestline + "\n")

    def do_GET(self):
        self.note()
        url = urllib.parse.urlsplit(self.path)
        with socket.create_connection(mirror.server_address) as there:
            there.sendall(f"GET {url.path} HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n".encode())
            while part := there.recv(65536):
                self.wfile.write(part)

    def do_CONNECT(self):
        self.note()
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(mirror.server_address) as there:
            ends = {self.connection: there, there: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    part = end.recv(65536)
                    if not part:
                        return
                    ends[end].sendall(part)


mirror = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=folder))
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:5])
    mirror.socket = context.wrap_socket(mirror.socket, server_side=True, do_handshake_on_connect=False)
proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
for server in (mirror, proxy):
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(mirror.server_address[1], proxy.server_address[1], flush=True)
sys.stdin.read()
