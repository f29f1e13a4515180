//! A wall clock for one process that a test sets while the process runs. Owns the file with the offset, and the library that
//! the process loads. The monotonic clock of the process stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The clock of one process or of several.
pub struct FakeClock {
    folder: TempDir,
}

impl FakeClock {
    /// A clock that is right.
    pub fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set_ahead(0);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_clock.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&clock.library(), &source])
            .status();
        assert!(compiled.expect("there is a C compiler").success());
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("fake_clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("seconds")
    }

    /// Sets the clock ahead of the real one, or back if it is negative.
    pub fn set_ahead(&self, seconds: i64) {
        use std::io::Write;
        // In place: the process has mapped this file.
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.file());
        file.unwrap().write_all(&seconds.to_ne_bytes()).unwrap();
    }

    /// The environment of a process with this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library().to_string_lossy().into_owned()),
            ("FAKE_CLOCK", self.file().to_string_lossy().into_owned()),
        ]
    }
}
