"""What a model reads and what it writes: dialects, chat templates, tool calls, stop sequences.

Law of this package: it is pure. No I/O, no clock, no framework, nothing of the wire; the only other module of
this distribution it knows is ``rockai_transport.errors``. (One exception: ``strftime_now``, which a Jinja
template may call to tell the model the date.) Both framework packages and both of their halves,
sync and async, stand on the same functions, so that what is decided here is decided once:

* :mod:`.request` turns a conversation into the exact ``input`` of one run (:class:`.request.ChatCall`),
* :mod:`.reply` turns the pieces of the answer into text, reasoning and tool calls,
* :mod:`.conversation` puts the two together where a reply may have to be asked for once more.

Nothing here is imported eagerly: ``import rockai_transport`` needs :mod:`.dialects` alone.
"""
