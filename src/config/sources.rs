//! What settings are read from: texts and variables. Owns fetching them from the disk and the process, and nothing of what
//! they mean, so that whatever anybody may write can be tried on the settings without either. Called by
//! [`load()`](super::load()); tests and the fuzzer make their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::Flags;
use super::problem::Problem;
use super::providers::DOT_ENV;

/// The sources of one start, the later over the earlier.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`: its path, as the user wrote it, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The text of `.env`; empty where there is none.
    pub dot_env: String,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
    /// What is there and could not be read.
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
