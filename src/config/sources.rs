//! The sources of settings, as texts and variables. Owns reading them from the disk and the process, not their meaning,
//! so that tests and the fuzzer can try any text without disk or environment. Used by [`load()`](super::load()).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::Flags;
use super::problem::Problem;
use super::providers::DOT_ENV;

/// The sources of one start; a later one overrides an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`: its path as the user wrote it, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The text of `.env`; empty if there is no such file.
    pub dot_env: String,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
    /// The files that could not be read.
    pub unreadable: Vec<Problem>,
}

impl Sources {
    /// Reads the file that the flags name, and `.env` in the working directory, if there is one.
    pub(super) fn read(flags: &Flags) -> Self {
        let mut sources =
            Self { environment: std::env::vars_os().collect(), flags: flags.clone(), ..Self::default() };
        let mut text = |path: &Path, is_optional: bool| match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if is_optional && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let what = format!("can't be read: {error}");
                sources.unreadable.push(Problem::new(path.display().to_string(), what));
                None
            }
        };
        let file = flags.config.as_ref().and_then(|path| Some((path.clone(), text(path, false)?)));
        let dot_env = text(Path::new(DOT_ENV), true).unwrap_or_default();
        Self { file, dot_env, ..sources }
    }
}
