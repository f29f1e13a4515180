//! The users of a run and their tokens: made up, from a file, or issued by the nodes' server API. Owns how they are got; never
//! shows a token or a key. Called at the start of each run.

use std::path::Path;
use std::time::Duration;

use chatnode_protocol::UserName;
use hyper::Method;
use serde_json::{Value, json};

use crate::http::Http;
use crate::secret::Secret;
use crate::target::Target;

/// How many connections issue tokens.
const WORKERS: usize = 8;

/// How long issued tokens are valid: longer than any run.
const TTL_SECONDS: u64 = 86_400;

/// Where users come from.
pub(crate) enum Users {
    /// Nobody asks for tokens.
    MadeUp,
    /// From a file.
    Given(Vec<(UserName, Secret)>),
    /// Made up, with tokens of the server API at this node.
    Issued { api: Box<Target>, key: String },
}

/// Why there are not enough users.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    /// The file can't be read.
    #[error("can't read {0}: {1}")]
    Unreadable(String, std::io::Error),
    /// A line of the file.
    #[error("{file}, line {line}: expected `user token`, one user on each line{why}")]
    Line { file: String, line: usize, why: String },
    /// The file is too short.
    #[error("the token file has {have} users, and this scenario needs {need}")]
    TooFew { have: usize, need: usize },
    /// No token was issued.
    #[error("can't issue tokens at {url}: {why}")]
    Api { url: String, why: String },
}

/// Reads a key or a file that is nothing but one word.
pub(crate) fn read_word(file: &Path) -> Result<String, UsersError> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| UsersError::Unreadable(file.display().to_string(), error))?;
    Ok(text.trim().to_owned())
}

impl Users {
    /// Reads a file with `user token` on each line; the token is the last word. Empty lines and `#` lines are skipped.
    ///
    /// # Errors
    /// It can't be read, a line is wrong, or a user comes twice.
    pub(crate) fn from_file(file: &Path) -> Result<Self, UsersError> {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).map_err(|error| UsersError::Unreadable(name.clone(), error))?;
        let (mut users, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Without the line itself: it has a token.
            let bad = |why: String| UsersError::Line { file: name.clone(), line: index + 1, why };
            let (user, token) = line.rsplit_once(char::is_whitespace).ok_or_else(|| bad(String::new()))?;
            let user = UserName::parse(user).map_err(|error| bad(format!("; the user {error}")))?;
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(bad("; the token has characters that no token has".into()));
            }
            if !seen.insert(user.clone()) {
                return Err(bad(format!("; {} comes twice", user.as_str())));
            }
            users.push((user, Secret::new(token)));
        }
        Ok(Self::Given(users))
    }

    /// So many users; those that are made up have names with this prefix.
    ///
    /// # Errors
    /// There are not enough, or the API issues none.
    pub(crate) async fn take(
        &self,
        count: usize,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Vec<(UserName, Option<Secret>)>, UsersError> {
        let made_up =
            |index: usize| UserName::parse(&format!("{prefix}u{index}")).expect("it is short and plain");
        match self {
            Self::MadeUp => Ok((0..count).map(|index| (made_up(index), None)).collect()),
            Self::Given(users) if users.len() < count => {
                Err(UsersError::TooFew { have: users.len(), need: count })
            }
            Self::Given(users) => {
                Ok(users[..count].iter().map(|(user, token)| (user.clone(), Some(token.clone()))).collect())
            }
            Self::Issued { api, key } => {
                let issuing = (0..WORKERS.min(count)).map(|worker| {
                    let names = (worker..count).step_by(WORKERS).map(made_up).collect();
                    tokio::spawn(issue((**api).clone(), key.clone(), names, timeout))
                });
                let issuing: Vec<_> = issuing.collect();
                let mut users = Vec::with_capacity(count);
                for issued in issuing {
                    let failed = |why: String| UsersError::Api { url: api.place.http("/api/v1/tokens"), why };
                    let issued = issued.await.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
                    users.extend(issued.into_iter().map(|(user, token)| (user, Some(token))));
                }
                Ok(users)
            }
        }
    }
}

async fn issue(
    api: Target,
    key: String,
    users: Vec<UserName>,
    timeout: Duration,
) -> Result<Vec<(UserName, Secret)>, String> {
    let mut http = Http::open(&api, timeout).await.map_err(|error| error.to_string())?;
    let mut issued = Vec::with_capacity(users.len());
    for user in users {
        let body = json!({"username": user.as_str(), "ttl_seconds": TTL_SECONDS}).to_string();
        let answer = http.ask(Method::POST, "/api/v1/tokens", Some(&key), Some(body)).await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        let token = serde_json::from_slice::<Value>(&body).ok().filter(|_| status == 201);
        let token = token.as_ref().and_then(|body| body["token"].as_str());
        let token = token.ok_or_else(|| match status {
            401 => "the key is not that of the nodes".to_owned(),
            404 => {
                "there is no server API: set auth.admin_key, or name its address with --api-url".to_owned()
            }
            status => format!("it answers {status}"),
        })?;
        issued.push((user, Secret::new(token)));
    }
    Ok(issued)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is removed with it.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chatnode-bench-{:016x}", rand::random::<u64>()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            // It is in the folder for such files.
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[tokio::test]
    async fn users_of_a_file_are_taken_in_order() {
        let file = Scratch::new("# users\nann s3cret-1\n\nbob builder\ts3cret-2\n");
        let users = Users::from_file(&file.0).unwrap();
        let taken = users.take(2, "x", Duration::from_secs(1)).await.unwrap();
        assert_eq!(taken[0].0.as_str(), "ann");
        assert_eq!((taken[1].0.as_str(), taken[1].1.as_ref().unwrap().reveal()), ("bob builder", "s3cret-2"));
        let error = users.take(3, "x", Duration::from_secs(1)).await.unwrap_err().to_string();
        assert!(error.contains("has 2 users, and this scenario needs 3"), "{error}");
    }

    #[test]
    fn errors_name_the_line_and_never_the_token() {
        for (text, says) in [
            ("ann s3cret\nbob\n", "line 2: expected `user token`"),
            (
                "ann s3cret\nann s3cret\n",
                "line 2: expected `user token`, one user on each line; ann comes twice",
            ),
            ("ann s3crét\n", "characters that no token has"),
        ] {
            let file = Scratch::new(text);
            let Err(error) = Users::from_file(&file.0) else { panic!("{text} was taken") };
            let error = error.to_string();
            assert!(error.contains(says) && !error.contains("s3cr"), "{error}");
        }
        let Err(error) = Users::from_file(Path::new("/no/such/file")) else { panic!("it was read") };
        assert!(error.to_string().contains("can't read /no/such/file"));
    }
}
