//! Times and days in the time zone of the user. Owns the zone, today's date, and the words for both; does not know what
//! happened at a time. Made by the terminal for each drawing, read by the transcript.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Shown for a time that is out of range, as wide as any other.
const NO_TIME: &str = "--:--";

/// Times and days in one time zone, seen at one moment.
pub(super) struct LocalTime {
    zone: TimeZone,
    /// `None` if the clock is out of range.
    today: Option<Date>,
    now: SystemTime,
}

impl LocalTime {
    pub(super) fn new(zone: &TimeZone, now: SystemTime) -> Self {
        let today = Timestamp::try_from(now).ok().map(|now| zone.to_datetime(now).date());
        Self { zone: zone.clone(), today, now }
    }

    /// Whether a Unix time in ms is still to come.
    pub(super) fn is_to_come(&self, unix_ms: u64) -> bool {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).is_none_or(|at| at > self.now)
    }

    /// A time in ms since 1970 with its date, in words. `None` if it is out of range.
    pub(super) fn moment(&self, unix_ms: u64) -> Option<String> {
        Some(self.local(unix_ms)?.strftime("%-d %B %Y, %H:%M").to_string())
    }

    /// The hours and minutes of a Unix time in ms, always five columns wide.
    pub(super) fn time_of_day(&self, unix_ms: u64) -> String {
        let local = self.local(unix_ms);
        local.map_or_else(|| NO_TIME.to_owned(), |at| format!("{:02}:{:02}", at.hour(), at.minute()))
    }

    /// The day of a Unix time in ms. `None` if it is out of range: after the year 9999.
    pub(super) fn day(&self, unix_ms: u64) -> Option<Date> {
        self.local(unix_ms).map(DateTime::date)
    }

    /// The name of a day, as seen today.
    pub(super) fn name(&self, day: Date) -> String {
        if self.today == Some(day) {
            return "Today".to_owned();
        }
        if self.today.and_then(|today| today.yesterday().ok()) == Some(day) {
            return "Yesterday".to_owned();
        }
        day.strftime("%A, %-d %B %Y").to_string()
    }

    /// By the rules of the zone at that time: it may be in summer while today is in winter.
    fn local(&self, unix_ms: u64) -> Option<DateTime> {
        let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        Some(self.zone.to_datetime(at))
    }
}

/// The time zone of `TZ`, or else of this machine. UTC if it is not known here, as in every other program: an image may have
/// no database of zones, and a misspelt `TZ` is no reason to fail.
pub(super) fn local_zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix_ms(at: &str) -> u64 {
        at.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
    }

    /// Europe/Berlin by its rule, which needs no database: an hour ahead of UTC, two from March to October.
    fn berlin(now: &str) -> LocalTime {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        LocalTime::new(&zone, SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms(now)))
    }

    #[test]
    fn a_time_follows_the_rules_of_its_own_date() {
        for now in ["2026-01-15T12:00:00Z", "2026-07-15T12:00:00Z"] {
            let local = berlin(now);
            for (at, shown) in [
                ("2026-01-01T12:00:00Z", "13:00"),
                ("2026-03-29T00:59:59Z", "01:59"),
                ("2026-03-29T01:00:00Z", "03:00"),
                ("2026-07-01T12:00:00Z", "14:00"),
                ("2026-10-25T00:30:00Z", "02:30"),
                ("2026-10-25T01:30:00Z", "02:30"),
                ("2026-10-25T02:30:00Z", "03:30"),
            ] {
                assert_eq!(local.time_of_day(unix_ms(at)), shown, "{at} seen at {now}");
            }
        }
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        // The 25th has 25 hours there.
        let local = berlin("2026-10-25T23:10:00Z");
        for (at, name) in [
            ("2026-10-24T21:59:59Z", "Saturday, 24 October 2026"),
            ("2026-10-24T22:00:00Z", "Yesterday"),
            ("2026-10-25T22:59:59Z", "Yesterday"),
            ("2026-10-25T23:00:00Z", "Today"),
            ("2026-10-26T22:59:59Z", "Today"),
            ("2026-10-26T23:00:00Z", "Tuesday, 27 October 2026"),
            ("1970-01-01T00:00:00Z", "Thursday, 1 January 1970"),
        ] {
            assert_eq!(local.name(local.day(unix_ms(at)).unwrap()), name, "{at}");
        }
    }

    #[test]
    fn a_time_out_of_range_has_no_day() {
        let local = berlin("2026-10-25T23:10:00Z");
        // The first moment of the year 10000 in UTC, and what a broken or hostile node may send.
        for beyond in [253_402_300_800_000, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            assert_eq!((local.time_of_day(beyond).as_str(), local.day(beyond)), (NO_TIME, None));
        }
        let last = unix_ms("9999-12-30T22:00:00Z");
        assert_eq!(local.time_of_day(last), "23:00");
        assert_eq!(local.name(local.day(last).unwrap()), "Thursday, 30 December 9999");
    }

    #[test]
    fn a_clock_out_of_range_names_no_day_today() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        let local = LocalTime::new(&TimeZone::UTC, now);
        assert_eq!(local.name(local.day(0).unwrap()), "Thursday, 1 January 1970");
    }
}
