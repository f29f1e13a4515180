//! Name and password of the node's user at Redis or at the Sentinels. Owns where they come from, and which settings to check if
//! they are refused; never shows them. Used by the connector, which authenticates each new connection with them.

use std::path::{Path, PathBuf};

use redis::RedisConnectionInfo;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Redis, RedisUrl};

/// The user of all connections of a node to one kind of server.
#[derive(Clone)]
pub(super) struct Credentials {
    username: Option<String>,
    password: Password,
    texts: &'static Texts,
}

/// What people are told.
struct Texts {
    /// The setting of the file.
    file: &'static str,
    /// The server refuses user or password.
    refused: &'static str,
    /// The server asks for a password.
    missing: &'static str,
}

static OF_REDIS: Texts = Texts {
    file: "redis.password_file",
    refused: "Redis refuses the user or the password: check redis.username and redis.password, redis.password_file or \
              redis.url",
    missing: "Redis asks for a password: set redis.password or redis.password_file",
};

static OF_SENTINELS: Texts = Texts {
    file: "redis.sentinel_password_file",
    refused: "the Sentinel refuses the user or the password: check redis.sentinel_username and redis.sentinel_password or \
              redis.sentinel_password_file",
    missing: "the Sentinel asks for a password: set redis.sentinel_password or redis.sentinel_password_file",
};

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
        Self { username, password, texts: &OF_REDIS }
    }

    /// Those of the Sentinels, which have their own users.
    pub(super) fn of_sentinels(settings: &Redis) -> Self {
        let password = match (&settings.sentinel_password_file, &settings.sentinel_password) {
            (Some(file), _) => Password::File(file.clone()),
            (None, Some(text)) => Password::Text(text.clone()),
            (None, None) => Password::None,
        };
        Self { username: settings.sentinel_username.clone(), password, texts: &OF_SENTINELS }
    }

    /// What to do about this error code of a new connection, if it concerns the credentials.
    pub(super) fn explain(&self, code: &str) -> Option<&'static str> {
        match code {
            "WRONGPASS" => Some(self.texts.refused),
            "NOAUTH" => Some(self.texts.missing),
            _ => None,
        }
    }

    /// Checks that the password can be read.
    ///
    /// # Errors
    /// As of [`Credentials::add_to`].
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.password {
            Password::File(path) => self.read(path).map(drop),
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
                let (file, credentials) = (path.clone(), self.clone());
                let password = tokio::task::spawn_blocking(move || credentials.read(&file)).await;
                let password =
                    password.map_err(|_| format!("{}: reading it was ended", self.texts.file))??;
                Ok(info.set_password(password.expose_secret()))
            }
        }
    }

    /// The password in a file, without the end of its line.
    fn read(&self, path: &Path) -> Result<SecretString, String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {}: {why}", self.texts.file, path.display());
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        match SecretString::from(text).expose_secret().trim_end_matches(['\r', '\n']) {
            "" => Err(failed(&"the file is empty")),
            password => Ok(password.into()),
        }
    }
}
