//! A working directory for the real command. Owns its files; the tests give the environment and the arguments.

use std::process::{Command, Output};

use tempfile::TempDir;

/// A working directory for the command, with an environment without variables of chatnode.
pub struct WorkDir(TempDir);

impl WorkDir {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn with(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    pub fn run(&self, environment: &[(&str, &str)], args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_chatnode"))
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// Asserts that `config check` exits with code 2 and prints exactly these errors.
    #[track_caller]
    pub fn refuses(&self, environment: &[(&str, &str)], args: &[&str], errors: &[&str]) {
        let output = self.run(environment, &[&["config", "check"], args].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().map(|line| line.trim_start_matches("chatnode: ")).collect();
        assert_eq!(lines, errors);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
    }

    /// Asserts that `config print` prints this line.
    #[track_caller]
    pub fn prints(&self, environment: &[(&str, &str)], args: &[&str], line: &str) {
        let output = self.run(environment, &[&["config", "print"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.lines().any(|printed| printed == line), "{line:?} is not in\n{text}");
    }
}
