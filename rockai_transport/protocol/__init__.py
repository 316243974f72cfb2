"""The protocol, pure: no clock, no sleep, no socket, and no HTTP library."""
