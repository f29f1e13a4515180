//! The settings from every source, through the real command.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod api_keys;
mod jwt;
mod shipped_files;
mod sources;
mod work_dir;
