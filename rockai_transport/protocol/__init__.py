"""What goes over the wire, pure: no clock, no sleep, no socket, no HTTP library but httpx-sse's parser."""
