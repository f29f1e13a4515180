//! The report of a run. Owns the counts, the latencies and their printing; judges nothing. Printed at the end of each run, and
//! as one row of the summary of many runs.

use std::collections::{HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

use crate::checks::{self, Check, Findings, Index};
use crate::fault::Fault;
use crate::history::{Event, History, Micros, SECOND, Topic, Verdict};
use crate::thresholds;

/// Sorted times.
#[derive(Debug, Default)]
pub struct Times(Vec<Micros>);

impl Times {
    fn of(mut times: Vec<Micros>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub fn max(&self) -> Micros {
        self.at(1_000)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn at(&self, permille: usize) -> Micros {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * permille / 1_000).copied().unwrap_or(0)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |permille| self.at(permille) as f64 / 1_000.0;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} times)",
            ms(500),
            ms(990),
            ms(1_000),
            self.0.len()
        )
    }
}

pub struct Report {
    pub acknowledged: u64,
    pub duplicates: u64,
    pub refused: u64,
    pub unknown: u64,
    pub received: u64,
    pub recovered: u64,
    pub not_recovered: u64,
    pub gaps: u64,
    pub closed: u64,
    pub members: u64,
    pub to_ack: Times,
    pub to_delivery: Times,
    pub to_recover: Times,
    /// Publish to delivery at the clients that read, before and after the clients that read nothing connected.
    pub to_others: Option<(Times, Times)>,
    /// From the end of a connection, for a client that returns at once, until it is in its first room again.
    pub to_return: Times,
    pub peak_kib: u64,
    pub injected: u64,
    pub logs_read: Vec<String>,
    /// How often private logs were read in all storms; none if nothing was counted.
    pub private_reads: Option<u64>,
    /// The faults, each with its beginning and its end.
    pub windows: Vec<(String, Micros, Micros)>,
    pub findings: Findings,
    /// The thresholds that the run did not reach.
    pub unmet: Vec<String>,
}

impl Report {
    pub fn of(history: &History) -> Self {
        let index = Index::new(history);
        let mut sent: HashMap<Uuid, Micros> = HashMap::new();
        // When each connection joined a topic: an older message is a replay, which would measure an absence.
        let mut joined: HashMap<(u64, Topic), Micros> = HashMap::new();
        let (mut to_ack, mut to_delivery, mut to_return) = (Vec::new(), Vec::new(), Vec::new());
        let mut gone: HashMap<u32, Micros> = HashMap::new();
        let non_readers_started =
            history.lines.iter().find(|line| line.event == Event::NonReadersStarted).map(|line| line.at);
        let mut readers = HashSet::new();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut report = Self {
            acknowledged: 0,
            duplicates: 0,
            refused: 0,
            unknown: 0,
            received: 0,
            recovered: 0,
            not_recovered: 0,
            gaps: 0,
            closed: 0,
            members: 0,
            to_ack: Times::default(),
            to_delivery: Times::default(),
            to_others: None,
            to_return: Times::default(),
            peak_kib: 0,
            injected: 0,
            logs_read: Vec::new(),
            private_reads: None,
            to_recover: Times::of(
                checks::times_to_recover(&index).into_iter().map(|(_, time)| time).collect(),
            ),
            windows: index.windows.iter().map(|w| (w.name.clone(), w.from, w.to)).collect(),
            findings: checks::all(history),
            unmet: Vec::new(),
        };
        for line in &history.lines {
            match &line.event {
                Event::Publish { id, .. } => {
                    sent.entry(*id).or_insert(line.at);
                }
                Event::Stored { op, duplicate, .. } => {
                    report.acknowledged += u64::from(!duplicate);
                    report.duplicates += u64::from(*duplicate);
                    to_ack.push(line.at - index.attempts[op].sent);
                }
                Event::Refused { .. } => report.refused += 1,
                Event::Unknown { .. } => report.unknown += 1,
                Event::Connected { client, .. } if non_readers_started.is_none_or(|came| line.at < came) => {
                    readers.insert(*client);
                }
                Event::Received { id, client, conn, topic, .. } => {
                    report.received += 1;
                    let sent = id.and_then(|id| sent.get(&id));
                    let live = sent.filter(|sent| joined.get(&(*conn, *topic)).is_some_and(|at| at <= *sent));
                    let Some(sent) = live else { continue };
                    to_delivery.push(line.at - sent);
                    if let Some(came) = non_readers_started.filter(|_| readers.contains(client)) {
                        if *sent < came { &mut before } else { &mut after }.push(line.at - sent);
                    }
                }
                Event::Joined { client, conn, topic, verdict, .. } => {
                    if matches!(topic, Topic::Room(_)) {
                        to_return.extend(gone.remove(client).map(|gone| line.at - gone));
                    }
                    joined.entry((*conn, *topic)).or_insert(line.at);
                    report.recovered += u64::from(matches!(verdict, Some(Verdict::Recovered)));
                    report.not_recovered += u64::from(matches!(verdict, Some(Verdict::Not { .. })));
                }
                Event::Left { conn, topic, .. } => {
                    joined.remove(&(*conn, *topic));
                }
                Event::LogsRead { rooms, of_a_room, private, of_a_user } => {
                    *report.private_reads.get_or_insert_default() += private;
                    report.logs_read.push(format!(
                        "reads of room logs: {rooms}, at most {of_a_room} of one; of private logs: {private}, at most {of_a_user} of one"
                    ));
                }
                Event::Injected { .. } => report.injected += 1,
                Event::Gap { .. } => report.gaps += 1,
                Event::Closed { client, .. } => {
                    report.closed += 1;
                    gone.insert(*client, line.at);
                }
                Event::Away { client } => {
                    gone.remove(client);
                }
                Event::Holds { resources, .. } => report.peak_kib = report.peak_kib.max(resources.peak_kib),
                Event::Members { .. } => report.members += 1,
                _ => {}
            }
        }
        report.to_others = non_readers_started.map(|_| (Times::of(before), Times::of(after)));
        report.to_return = Times::of(to_return);
        report.to_ack = Times::of(to_ack);
        report.to_delivery = Times::of(to_delivery);
        report.unmet = thresholds::unmet(&report, Fault::of(history));
        report
    }

    /// The checks with findings and the thresholds that were not reached, on one line.
    pub fn faults(&self) -> String {
        let names = self.findings.names().into_iter().map(|check| check.to_string());
        names.chain(self.unmet.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    pub fn good(&self) -> bool {
        self.findings.found.is_empty() && self.unmet.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at: Micros| at as f64 / SECOND as f64;
        for (name, from, to) in &self.windows {
            writeln!(f, "  fault {name}: {:.1} s to {:.1} s", seconds(*from), seconds(*to))?;
        }
        writeln!(
            f,
            "  publishes: {} acknowledged, {} recognised as repeats, {} refused, {} unknown",
            self.acknowledged, self.duplicates, self.refused, self.unknown
        )?;
        writeln!(
            f,
            "  received: {}; resumes: {} recovered, {} not recovered; gaps: {}; closed connections: {}; member lists: {}",
            self.received, self.recovered, self.not_recovered, self.gaps, self.closed, self.members
        )?;
        writeln!(f, "  publish to Ack:      {}", self.to_ack)?;
        writeln!(f, "  publish to delivery: {}", self.to_delivery)?;
        if let Some((before, after)) = &self.to_others {
            writeln!(f, "  without slow ones:   {before}")?;
            let times = after.at(990) as f64 / before.at(990).max(1) as f64;
            writeln!(f, "  beside slow ones:    {after}; p99 is {times:.2} times as long")?;
        }
        writeln!(f, "  fault to recovery:   {}", self.to_recover)?;
        for reads in &self.logs_read {
            writeln!(f, "  {reads}")?;
        }
        writeln!(f, "  close to return:     {}", self.to_return)?;
        writeln!(f, "  memory of a node:    {} MiB at most", self.peak_kib >> 10)?;
        for unmet in &self.unmet {
            writeln!(f, "  NOT REACHED: {unmet}")?;
        }
        writeln!(
            f,
            "  ghost bounds:        {} expired before a client asked for the members",
            self.findings.ghosts
        )?;
        for check in Check::ALL {
            let looked = self.findings.looked.get(&check).copied().unwrap_or(0);
            writeln!(f, "  {check:<26} {:>6} findings in {looked} cases", self.findings.count(check))?;
            for finding in self.findings.found.iter().filter(|finding| finding.check == check).take(5) {
                writeln!(f, "      at {:.3} s: {}", seconds(finding.at), finding.text)?;
            }
        }
        Ok(())
    }
}
