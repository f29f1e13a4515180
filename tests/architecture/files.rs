//! Rules on single files: their length, their names, and the documentation at their start.

use crate::source::{Source, files, shipped, sources};

/// The most lines of a file. A longer one holds two things, and is split.
pub const MAX_LINES: usize = 400;

/// Words that say nothing about what a file holds.
const EMPTY_WORDS: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "manager", "types", "misc"];

/// Fails with all faults at once.
#[track_caller]
pub fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let all = shipped().into_iter().chain(sources(&["tests", "benches", "examples", "fuzz"]));
    let long = all.filter(|source| source.lines() > MAX_LINES);
    let faults: Vec<String> = long.map(|s| format!("{} has {} lines", s.path, s.lines())).collect();
    assert_no_faults(&faults);
}

#[test]
fn every_file_begins_with_its_documentation() {
    let undocumented = |source: &Source| !source.text.starts_with("//! ");
    let faults = shipped().into_iter().filter(undocumented);
    assert_no_faults(&faults.map(|s| format!("{} does not begin with //!", s.path)).collect::<Vec<_>>());
}

#[test]
fn every_file_name_says_what_the_file_holds() {
    let all = ["src", "crates", "tests"].into_iter().flat_map(files);
    let is_empty = |path: &String| path.split(['/', '.', '_']).any(|word| EMPTY_WORDS.contains(&word));
    assert_no_faults(&all.filter(is_empty).collect::<Vec<_>>());
}
