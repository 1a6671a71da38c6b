"""The networks, and their layouts as read from a file's header."""
