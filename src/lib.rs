//! chatnode: a horizontally scalable chat server.
