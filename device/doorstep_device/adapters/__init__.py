"""The ports on real things: files, threads, codecs, pins and sockets."""
