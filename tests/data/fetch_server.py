#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server on the loopback for test_fetch: /<manner>/<anything>-<bytes>.bin. Prints its port, then a line "path range" a request.

Manners: good; norange (answers ranges with the whole); cut (the connection ends after 40,000 bytes of every answer); busy (503
twice, then good); missing (404); moved (redirects to good); denied (403)."""
import http.server
import re
import sys

seen = {}


def content(n):
    return bytes((i * 7 + (i >> 8)) & 255 for i in range(n))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def refuse(self, code, location=None):
        self.send_response(code)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        wanted = self.headers.get("Range", "-")
        print(self.path, wanted, flush=True)
        manner = self.path.split("/")[1]
        seen[self.path] = seen.get(self.path, 0) + 1
        if manner == "missing":
            return self.refuse(404)
        if manner == "denied":
            return self.refuse(403)
        if manner == "moved":
            return self.refuse(302, self.path.replace("/moved/", "/good/"))
        if manner == "busy" and seen[self.path] <= 2:
            return self.refuse(503)
        data = content(int(re.search(r"-(\d+)\.bin$", self.path).group(1)))
        begin = 0
        match = re.match(r"bytes=(\d+)-$", wanted)
        if match and manner != "norange":
            begin = int(match.group(1))
            if begin >= len(data):
                return self.refuse(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if manner == "cut" and len(data) - begin > 40000:
            self.wfile.write(data[begin : begin + 40000])
            self.close_connection = True
            return
        self.wfile.write(data[begin:])


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the test


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
