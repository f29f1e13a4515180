//! Reading the settings again while the node runs (SIGHUP). Owns what is logged of it; `config` decides what a running node can take
//! over. Used by `chatnode serve`.

use tracing::{error, info, warn};

use crate::config::{self, Config, Flags, Problem, Reload};
use crate::server::Control;
use crate::telemetry;

/// What the start has read, and where.
pub(super) struct Reloader {
    flags: Flags,
    started: Config,
}

impl Reloader {
    pub(super) fn new(flags: &Flags, started: Config) -> Self {
        Self { flags: flags.clone(), started }
    }

    /// Reads the settings and the certificates again, and gives the node what it can take over. If anything is invalid, all
    /// settings stay.
    pub(super) fn reload(&self, control: &Control) {
        control.renew_certificate();
        let current = control.config();
        let reload =
            config::load(&self.flags).and_then(|loaded| Reload::new(&current, &self.started, &loaded.config));
        let Reload { config, changed, kept } = match reload {
            Ok(reload) => reload,
            Err(refused) => return refuse(&refused.0),
        };
        if let Err(error) = telemetry::set_log_filter(&config.log.filter) {
            return error!(%error, "can't change log.filter: the node keeps the settings that it has");
        }
        for warning in config::warnings(&config) {
            if !config::warnings(&current).contains(&warning) {
                warn!("{warning}");
            }
        }
        control.apply(config);
        if !kept.is_empty() {
            warn!(settings = kept.join(", "), "settings have changed that need a restart");
        }
        info!(changed = changed.join(", "), "read the settings again");
    }
}

fn refuse(problems: &[Problem]) {
    for problem in problems {
        error!("{problem}");
    }
    error!("the settings can't be used: the node keeps those that it has");
}
