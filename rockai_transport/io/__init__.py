"""The only place with sockets, threads and clocks: how an operation's input and output is done."""
