"""Receive objects over a connection, and answer each one. Safe on the receiving side.

`picklet.load` reads no byte beyond its pickle, so messages follow one another
on the same connection; and it runs nothing that a stranger's pickle says.

Usage: python server.py [PORT]      (0, the default, takes a free port and prints it)
"""

import socket
import sys

import picklet


def answer(message):
    """Compute the answer to one message: how many values it holds, and their sum."""
    return {"count": len(message["values"]), "sum": sum(message["values"])}


def serve(connection):
    """Answer the messages of one connection until the peer closes it."""
    with connection, connection.makefile("rb") as incoming, connection.makefile("wb") as outgoing:
        while incoming.peek(1):
            try:
                reply = answer(picklet.load(incoming))
            except picklet.UntrustedGlobalError as error:
                print("refused:", error, flush=True)
                return
            picklet.dump(reply, outgoing)
            outgoing.flush()


def main(port):
    """Serve one connection after another on the loopback address."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print("listening on port", server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
