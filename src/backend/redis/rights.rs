//! Rights of the Redis user. Owns the recognition of a reply that a right is missing, and the log line with the way out; grants
//! nothing. Called wherever a reply is an error.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use redis::RedisError;
use tokio::time::Instant;

/// The same line is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// How many different lines are remembered. There are as many as commands and kinds of keys.
const MAX_LINES: usize = 64;

static LOGGED: LazyLock<Mutex<HashMap<String, Instant>>> = LazyLock::new(Mutex::default);

/// True if the user lacks a right.
pub(super) fn is_denied(error: &RedisError) -> bool {
    // In a script and inside of a pipeline, the code is another one or is not seen.
    error.code() == Some("NOPERM") || denies(&error.to_string())
}

/// The same for the text of an error.
pub(super) fn denies(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["noperm", "no permissions", "can't run this command or subcommand"]
        .iter()
        .any(|words| text.contains(words))
}

/// Logs that a right is missing, if that is the reason of the error.
pub(super) fn report(error: &RedisError) {
    if !is_denied(error) {
        return;
    }
    let (line, now) = (error.to_string(), Instant::now());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    logged.retain(|_, at| now.duration_since(*at) < QUIET);
    if logged.len() < MAX_LINES && !logged.contains_key(&line) {
        logged.insert(line.clone(), now);
        tracing::warn!(error = line, "{}", HINT);
    }
}

/// What to do.
pub(super) const HINT: &str =
    "the Redis user lacks a right: give it the whole ACL line of docs/operations.md#the-redis-user";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redis::parse_redis_value;

    #[test]
    fn replies_of_all_servers_to_a_missing_right_are_known() {
        let is_denied = |reply: &str| {
            super::is_denied(&parse_redis_value(reply.as_bytes()).unwrap().extract_error().unwrap_err())
        };
        for reply in [
            "-NOPERM this user has no permissions to run the 'role' command\r\n",
            "-NOPERM User chat has no permissions to run the 'role' command\r\n",
            "-NOPERM No permissions to access a channel\r\n",
            "-ERR The user executing the script can't run this command or subcommand script: 1a, on @user_script:9.\r\n",
            "-ERR ACL failure in script: User chat has no permissions to run the 'zadd' command on @user_script:26.\r\n",
        ] {
            assert!(is_denied(reply), "{reply}");
        }
        assert!(!is_denied("-READONLY You can't write against a read only replica.\r\n"));
        assert!(!is_denied("-ERR unknown command\r\n"));
    }

    /// A command that a script runs only in a rare case is missing as soon as the case comes.
    #[test]
    fn handbook_grants_every_command_of_the_scripts() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
        let (_, rest) = page.split_once("ACL SETUSER chat on >PASSWORD ").unwrap();
        let rights: Vec<&str> = rest.split_once("```").unwrap().0.split_whitespace().collect();
        let mut count = 0;
        for script in std::fs::read_dir(root.join("src/backend/redis/scripts")).unwrap() {
            let script = std::fs::read_to_string(script.unwrap().path()).unwrap();
            for call in script.split("call('").skip(1) {
                let right = format!("+{}", call.split('\'').next().unwrap().to_lowercase());
                assert!(rights.contains(&right.as_str()), "{right} is missing in docs/operations.md");
                count += 1;
            }
        }
        assert!(count > 50, "{count} calls found");
    }
}
