//! The reader of `.env`. Owns the split of its text into variables, and the check that no line becomes part of another
//! one's value; `providers` gives the variables their meaning. Called by `config::load`.

use std::ffi::OsString;

use super::problem::Problem;
use super::providers::{DOT_ENV, PREFIX, Parsed, Source, take_variables};

/// The settings in the text of `.env`. Variables of other programs are ignored. The process environment stays as it is:
/// nothing that this program starts would expect to inherit secrets from a file.
pub(super) fn read(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut ours = our_lines(text);
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((name, value)) => {
                if let Some(at) = ours.iter().position(|(_, wanted)| *wanted == name) {
                    ours.remove(at);
                }
                variables.push((name.into(), value.into()));
            }
            // The error's own text quotes the line or the value in it, which may be a secret.
            Err(dotenvy::Error::LineParse(bad, _)) => {
                let is_it =
                    |line: &str| line == bad || line.split_once('=').is_some_and(|(_, value)| value == bad);
                let line = text.lines().position(is_it).map(|before| before + 1);
                ours.retain(|(number, _)| Some(*number) != line);
                let line = line.map(|number| format!(" line {number}"));
                parsed.problems.push(Problem::new(
                    format!("{DOT_ENV}{}", line.unwrap_or_default()),
                    "must be NAME=value; put a value with spaces, quotes, # or $ in single quotes",
                ));
            }
            Err(error) => {
                parsed.problems.push(Problem::new(DOT_ENV, format!("can't be read: {error}")));
                return parsed;
            }
        }
    }
    // An unclosed quote or `${` takes the following lines into its own value: a secret would be under another name, and
    // would be shown. So nothing of such a file is used.
    if let Some((number, name)) = ours.first() {
        if parsed.problems.is_empty() {
            let what =
                format!("{name} is part of the value of an earlier line: is a quote or a }} missing above?");
            parsed.problems.push(Problem::new(format!("{DOT_ENV} line {number}"), what));
        }
        return parsed;
    }
    take_variables(&Source::DotEnv, variables, &mut parsed);
    parsed
}

/// The lines that look like assignments to variables of chatnode: line number and name.
fn our_lines(text: &str) -> Vec<(usize, &str)> {
    let numbered = (1..).zip(text.lines());
    numbered
        .filter_map(|(number, line)| {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").map_or(line, str::trim_start);
            let (name, rest) = line.split_at(line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?);
            let is_ours = name.starts_with(PREFIX) && rest.trim_start().starts_with('=');
            is_ours.then_some((number, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        read(text).problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn line_inside_an_open_quote_or_brace_is_the_only_error() {
        let secret = "CHAT_AUTH__ADMIN_KEY=";
        for (above, key) in [
            ("CHAT_PORT='8080", "'0123456789abcdef"),
            ("CHAT_PORT='", "'0123456789abcdef"),
            ("CHAT_HOST=x${_\"", "\"0123456789abcdef}"),
            ("OTHER=\"", "0123456789abcdef\""),
            ("  export CHAT_HOST=\"a${b", "0123456789}abcdef\""),
        ] {
            let reported = problems(&format!("{above}\n{secret}{key}\nCHAT_PORT=none\n"));
            let what = "CHAT_AUTH__ADMIN_KEY is part of the value of an earlier line: is a quote or a } missing above?";
            assert_eq!(reported, [format!(".env line 2: {what}")], "{above}");
        }
    }

    #[test]
    fn lines_of_other_programs_are_ignored() {
        let text =
            "# CHAT_PORT=1\nCHATTER=2\nKEY='a\nb=c\n'\n CHAT_PORT = 3\nexport CHAT_HOST=h\nCHAT_PORT=4\n";
        assert_eq!(problems(text), Vec::<String>::new());
        assert_eq!(our_lines(text).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [6, 7, 8]);
    }

    #[test]
    fn unclosed_quote_is_reported_once() {
        let reported = problems("CHAT_HOST=\"a\nCHAT_AUTH__ADMIN_KEY=0123456789abcdef\n");
        assert_eq!(reported.len(), 1, "{reported:?}");
        assert!(
            !reported[0].contains("0123456789abcdef") && reported[0].contains("must be NAME=value"),
            "{reported:?}"
        );
    }
}
