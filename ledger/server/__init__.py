"""The HTTP server: sockets that instances share, connections and their bounds, and the log's form."""
