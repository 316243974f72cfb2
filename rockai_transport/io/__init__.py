"""The only place with sockets, threads and clocks: both kinds of `IO`."""
