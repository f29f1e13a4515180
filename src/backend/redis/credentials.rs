//! Name and password of the node's Redis user. Owns where they come from; never shows them. Used by the connector, which
//! authenticates each new connection with them.

use std::path::{Path, PathBuf};

use redis::RedisConnectionInfo;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Redis, RedisUrl};

/// The user of all connections of a node.
#[derive(Clone)]
pub(super) struct Credentials {
    username: Option<String>,
    password: Password,
}

#[derive(Clone)]
enum Password {
    None,
    Text(SecretString),
    File(PathBuf),
}

impl Credentials {
    /// The settings win over the URL.
    pub(super) fn new(settings: &Redis, url: &RedisUrl) -> Self {
        let username = settings.username.clone().or_else(|| url.username.clone());
        let password = match (&settings.password_file, settings.password.as_ref().or(url.password.as_ref())) {
            (Some(file), _) => Password::File(file.clone()),
            (None, Some(text)) => Password::Text(text.clone()),
            (None, None) => Password::None,
        };
        Self { username, password }
    }

    /// Checks that the password can be read.
    ///
    /// # Errors
    /// As of [`Credentials::add_to`].
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.password {
            Password::File(path) => read(path).map(drop),
            Password::None | Password::Text(_) => Ok(()),
        }
    }

    /// Adds name and password. Reads the file each time: a password that was changed needs no restart.
    ///
    /// # Errors
    /// The file can't be read, or it is empty. The text names the setting.
    pub(super) async fn add_to(&self, mut info: RedisConnectionInfo) -> Result<RedisConnectionInfo, String> {
        if let Some(name) = &self.username {
            info = info.set_username(name);
        }
        match &self.password {
            Password::None => Ok(info),
            Password::Text(text) => Ok(info.set_password(text.expose_secret())),
            Password::File(path) => {
                let file = path.clone();
                let password = tokio::task::spawn_blocking(move || read(&file)).await;
                let password =
                    password.map_err(|_| "redis.password_file: reading it was ended".to_owned())??;
                Ok(info.set_password(password.expose_secret()))
            }
        }
    }
}

/// The password in a file, without the end of its line.
fn read(path: &Path) -> Result<SecretString, String> {
    let failed = |why: &dyn std::fmt::Display| format!("redis.password_file: {}: {why}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    match SecretString::from(text).expose_secret().trim_end_matches(['\r', '\n']) {
        "" => Err(failed(&"the file is empty")),
        password => Ok(password.into()),
    }
}
