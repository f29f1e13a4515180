//! What Sentinels say about a master. Owns the meaning of their replies, and which of several answers counts; asks nobody. Used by
//! the connection to each Sentinel and by the resolver.

use std::collections::HashMap;
use std::time::Duration;

/// The answer of one Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The host that it announces for the master.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// The number of the configuration: each failover has a higher one.
    pub(super) epoch: u64,
    /// The Sentinel, or enough of them, can't reach the master.
    pub(super) is_down: bool,
    /// It is replacing the master.
    pub(super) is_failing_over: bool,
    /// How long the master must be silent before it is replaced.
    pub(super) down_after: Duration,
}

impl Report {
    /// Reads the reply to `SENTINEL MASTER`, and the address of `SENTINEL GET-MASTER-ADDR-BY-NAME`. The latter is already the
    /// promoted replica's while the other replicas are told.
    pub(super) fn parse(master: &HashMap<String, String>, now: Option<(String, u16)>) -> Option<Self> {
        let number = |name: &str| master.get(name)?.parse::<u64>().ok();
        let before = (master.get("ip")?.clone(), u16::try_from(number("port")?).ok()?);
        let flags: Vec<&str> = master.get("flags")?.split(',').collect();
        let now = now.unwrap_or_else(|| before.clone());
        let is_promoted = now != before;
        let has = |flag: &str| flags.contains(&flag) && !is_promoted;
        Some(Self {
            is_down: has("s_down") || has("o_down"),
            is_failing_over: has("failover_in_progress"),
            epoch: number("config-epoch")?,
            down_after: Duration::from_millis(number("down-after-milliseconds")?),
            host: now.0,
            port: now.1,
        })
    }

    /// Host and port.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// What the answers of one round mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Fewer than half have answered, which may be the smaller side of a cut network: the present master stays.
    TooFew,
    /// All that have answered say that the master is down.
    Down,
    /// The master with the newest configuration.
    Master(&'a Report),
}

/// Judges the answers of one round to `total` Sentinels.
pub(super) fn judge(reports: &[Report], total: usize) -> Verdict<'_> {
    if 2 * reports.len() < total || reports.is_empty() {
        return Verdict::TooFew;
    }
    let up = reports.iter().filter(|report| !report.is_down);
    up.max_by_key(|report| report.epoch).map_or(Verdict::Down, Verdict::Master)
}

/// Whether the answers prove that `master` is the present one: half of the Sentinels can reach it, nobody names another one with
/// a newer configuration, and nobody is replacing it.
pub(super) fn confirms(reports: &[Report], total: usize, master: &Report) -> bool {
    let same = |report: &&Report| report.address() == master.address() && !report.is_down;
    let half = 2 * reports.iter().filter(same).count() >= total;
    half && !reports.iter().any(|report| report.is_failing_over || report.epoch > master.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(flags: &str) -> HashMap<String, String> {
        [
            ("ip", "10.0.0.1"),
            ("port", "6379"),
            ("flags", flags),
            ("config-epoch", "4"),
            ("down-after-milliseconds", "3000"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
    }

    fn report(port: u16, epoch: u64, flags: &str) -> Report {
        Report { port, epoch, ..Report::parse(&reply(flags), None).unwrap() }
    }

    #[test]
    fn reply_tells_address_epoch_and_state() {
        let parsed = Report::parse(&reply("master,s_down,failover_in_progress"), None).unwrap();
        let expected = Report {
            host: "10.0.0.1".into(),
            port: 6379,
            epoch: 4,
            is_down: true,
            is_failing_over: true,
            down_after: Duration::from_secs(3),
        };
        assert_eq!(parsed, expected);
        // The flags concern the master before.
        let promoted = Report::parse(&reply("master,o_down,failover_in_progress"), Some(("b".into(), 7)));
        let promoted = promoted.unwrap();
        assert_eq!(
            (promoted.address(), promoted.is_down, promoted.is_failing_over),
            (("b", 7), false, false)
        );
        let mut broken = reply("master");
        broken.remove("config-epoch");
        assert_eq!(Report::parse(&broken, None), None);
    }

    #[test]
    fn newest_configuration_of_the_larger_side_counts() {
        let (old, new) = (report(1, 4, "master"), report(2, 5, "master"));
        let down = report(3, 6, "master,s_down");
        for (reports, total, expected) in [
            (&[][..], 1, Verdict::TooFew),
            (&[new.clone()][..], 3, Verdict::TooFew),
            (&[old.clone()][..], 1, Verdict::Master(&old)),
            (&[old.clone(), new.clone(), old.clone()][..], 3, Verdict::Master(&new)),
            (&[old.clone(), old.clone()][..], 4, Verdict::Master(&old)),
            (&[old.clone(), down.clone()][..], 3, Verdict::Master(&old)),
            (&[down.clone(), down.clone()][..], 3, Verdict::Down),
        ] {
            assert_eq!(judge(reports, total), expected, "{reports:?} of {total}");
        }
    }

    #[test]
    fn doubt_of_one_sentinel_prevents_the_proof() {
        let (old, new) = (report(1, 4, "master"), report(2, 5, "master"));
        let down = report(1, 4, "master,s_down");
        let failing_over = report(1, 4, "master,failover_in_progress");
        for (others, proves) in [
            (&[old.clone(), old.clone()][..], true),
            (&[old.clone()][..], true),
            (&[][..], false),
            (&[old.clone(), down.clone()][..], true),
            (&[down.clone(), down][..], false),
            (&[old.clone(), new][..], false),
            (&[old.clone(), failing_over][..], false),
        ] {
            let reports: Vec<Report> = others.iter().chain([&old]).cloned().collect();
            assert_eq!(confirms(&reports, 3, &old), proves, "{reports:?}");
        }
    }
}
