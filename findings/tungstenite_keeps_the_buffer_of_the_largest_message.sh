#!/usr/bin/env bash
# tungstenite 0.30.0.
#
# A WebSocket begins with an input buffer of 128 KiB, and keeps one as large as the largest frame that it has read. Neither taking the message, nor reading
# further small messages, nor dropping the message makes it smaller, and there is no call that does. A server with many
# quiet connections holds, for each of them, the largest message that the client ever sent. Only a new WebSocket around the
# same stream (`into_inner` and `from_raw_socket`) gives the memory back.
#
# Seen: 896 KiB more are held (1,024 instead of 128) after one message of 1,024 KiB and 100 messages of 10 bytes.
#
# Needs cargo.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "program"
version = "0.0.0"
edition = "2021"

[dependencies]
tungstenite = { version = "=0.30.0", default-features = false }
END
cat >src/main.rs <<'END'
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use tungstenite::protocol::{Role, WebSocket};

/// Counts the bytes that are allocated and not freed.
struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        System.alloc(layout)
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        System.dealloc(pointer, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server's text frame: not masked, so the side that reads it is a client.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x81];
    if bytes < 126 {
        frame.push(bytes as u8);
    } else {
        frame.push(127);
        frame.extend((bytes as u64).to_be_bytes());
    }
    frame.resize(frame.len() + bytes, b'x');
    frame
}

fn main() {
    let mut stream = frame(10);
    stream.extend(frame(1 << 20));
    for _ in 0..100 {
        stream.extend(frame(10));
    }
    let mut socket = WebSocket::from_raw_socket(Cursor::new(stream), Role::Client, None);
    drop(socket.read().unwrap());
    let small = LIVE.load(Ordering::Relaxed);
    assert_eq!(socket.read().unwrap().len(), 1 << 20);
    for _ in 0..100 {
        assert_eq!(socket.read().unwrap().len(), 10);
    }
    let kept = LIVE.load(Ordering::Relaxed) - small;
    println!("more KiB held after a message of 1,024 KiB and 100 small ones: {}", kept / 1024);
    assert_eq!(kept / 1024, 896, "the behaviour has changed");
}
END
cargo run --quiet
