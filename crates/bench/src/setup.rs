//! Everything that a run needs beside its shape: the nodes, the users, the limits of this machine. Owns how it is made from the
//! command line, and which errors are those of the command line. Made once by `main`, used for each run.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::args::Common;
use crate::machine::{self, Limits};
use crate::node::Nodes;
use crate::progress::Progress;
use crate::target::{Target, TargetError};
use crate::tokens::{Users, UsersError, read_word};

/// The variable with the key of the server API, as for the commands of a node.
const KEY_VARIABLE: &str = "CHAT_AUTH__ADMIN_KEY";

/// Everything but the shape.
pub(crate) struct Setup {
    /// For requests over HTTP.
    pub(crate) runtime: Runtime,
    pub(crate) targets: Vec<Target>,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) nodes: Nodes,
    pub(crate) users: Users,
    pub(crate) limits: Limits,
    pub(crate) threads: usize,
    /// The bytes of a message.
    pub(crate) size: usize,
    /// Connections in the making.
    pub(crate) at_once: usize,
    pub(crate) in_flight: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) timeout: Duration,
    pub(crate) progress: Progress,
}

/// Why nothing can begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// A node.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The users or the key.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// There is no key.
    #[error(
        "--issue-tokens needs the key of the server API: set {KEY_VARIABLE}, or name a file with --admin-key-file"
    )]
    NoKey,
    /// The system gives no runtime.
    #[error("can't start: {0}")]
    Runtime(#[from] io::Error),
}

impl SetupError {
    /// Whether another command line would help.
    pub(crate) fn is_invalid(&self) -> bool {
        match self {
            Self::Target(TargetError::Url(_) | TargetError::NotAllowed { .. }) | Self::NoKey => true,
            Self::Users(UsersError::Unreadable(..) | UsersError::Line { .. }) => true,
            Self::Target(_) | Self::Users(_) | Self::Runtime(_) => false,
        }
    }
}

impl Setup {
    /// Finds the nodes, and reads files.
    ///
    /// # Errors
    /// Something that the command line names is not there, or may not be loaded.
    pub(crate) fn new(common: &Common, in_flight: usize) -> Result<Self, SetupError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let find = |url: &str, may_load: bool| runtime.block_on(Target::find(url, may_load, common.timeout));
        let mut targets = Vec::with_capacity(common.url.len());
        for url in &common.url {
            targets.push(find(url, common.i_may_load_this_host)?);
        }
        let mut nodes = Vec::new();
        if common.metrics_url.is_empty() && !common.no_metrics {
            nodes.extend(targets.iter().map(|target| (target.clone(), "/metrics".to_owned())));
        }
        for url in &common.metrics_url {
            // To ask a node once is no load.
            let target = find(url, true)?;
            let path = Some(target.place.path.clone()).filter(|path| path != "/");
            nodes.push((target, path.unwrap_or_else(|| "/metrics".to_owned())));
        }
        let users = if let Some(file) = &common.token_file {
            Users::from_file(file)?
        } else if common.issue_tokens || common.admin_key_file.is_some() {
            let key = match &common.admin_key_file {
                Some(file) => Some(read_word(file)?),
                None => std::env::var(KEY_VARIABLE).ok(),
            };
            let key = key.filter(|key| !key.is_empty()).ok_or(SetupError::NoKey)?;
            let api = match &common.api_url {
                // The key goes there, and each user costs a request.
                Some(url) => find(url, common.i_may_load_this_host)?,
                None => nodes.first().map_or_else(|| targets[0].clone(), |(target, _)| target.clone()),
            };
            Users::Issued { api: Box::new(api), key }
        } else {
            Users::MadeUp
        };
        let threads = common.threads.map_or_else(|| (machine::cores() / 2).max(1), usize::from);
        Ok(Self {
            runtime,
            targets,
            sources: common.source.clone(),
            nodes: Nodes::new(nodes),
            users,
            limits: Limits::read(),
            threads,
            size: common.size as usize,
            at_once: common.at_once as usize,
            in_flight,
            warmup: common.warmup,
            duration: common.duration,
            timeout: common.timeout,
            progress: Progress::new(common.quiet),
        })
    }
}
