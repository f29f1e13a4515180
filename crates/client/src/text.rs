//! Makes text from other users safe for a terminal. Owns what is removed; does not know who wrote the text or where it is
//! shown. Called wherever something from a node is shown to people.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Shown instead of a line break inside a message: a message is one line, so that it can't imitate another message.
const LINE_BREAK: &str = " ⏎ ";

/// The text on one line, without control characters, escape sequences and marks that change the direction of text.
pub fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches(['\n', '\r']);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{1b}' => rest = after_sequence(rest),
            '\u{9b}' => rest = after_parameters(rest),
            '\r' if rest.starts_with('\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => clean.push_str(LINE_BREAK),
            '\t' => clean.push(' '),
            // Persian, Indic scripts and many emoji need the joiners, after a character to join. A joiner alone has no width,
            // but some terminals give it one.
            '\u{200c}' | '\u{200d}' => {
                let joins = |c: char| !c.is_whitespace() && !matches!(c, '\u{200c}' | '\u{200d}');
                if clean.chars().next_back().is_some_and(joins) {
                    clean.push(c);
                }
            }
            _ => match c.general_category() {
                GeneralCategory::Control | GeneralCategory::Format => {}
                _ => clean.push(c),
            },
        }
    }
    clean
}

/// The most characters of a quote.
const MAX_QUOTE: usize = 60;

/// The beginning of a text, as [`harmless`] returns it: at most 60 characters, and `…` if there are more.
pub fn quote(text: &str) -> String {
    // A short quote of a long text costs as much as it shows: a sequence of control characters ends within these bytes, or is one.
    let text = harmless(&text[..text.floor_char_boundary(MAX_QUOTE * 16)]);
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text,
    }
}

/// The lines of a text, each as [`harmless`] returns it. Line breaks at the end of the text make no lines.
pub fn harmless_lines(text: &str) -> Vec<String> {
    let text = text.trim_end_matches(['\n', '\r']).replace("\r\n", "\n");
    text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']).map(harmless).collect()
}

/// The text after an escape sequence. `rest` begins after the escape character. A sequence without an end hides nothing: only
/// its start is removed.
fn after_sequence(rest: &str) -> &str {
    let Some(opening) = rest.chars().next() else { return rest };
    match opening {
        '[' => after_parameters(&rest[1..]),
        ']' | 'P' | 'X' | '^' | '_' => {
            let end = rest.find(['\u{7}', '\u{1b}', '\u{9c}']);
            match end {
                Some(end) if rest[end..].starts_with("\u{1b}\\") => &rest[end + 2..],
                Some(end) if !rest[end..].starts_with('\u{1b}') => {
                    rest[end..].trim_start_matches(['\u{7}', '\u{9c}'])
                }
                _ => &rest[1..],
            }
        }
        _ => rest,
    }
}

/// The text after the parameters of a control sequence and its last character.
fn after_parameters(rest: &str) -> &str {
    let end = rest.trim_start_matches(|c: char| ('\u{20}'..='\u{3f}').contains(&c));
    match end.chars().next() {
        Some(last) if ('\u{40}'..='\u{7e}').contains(&last) => &end[1..],
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joiner_stays_between_two_characters() {
        assert_eq!(harmless("\u{200d}\u{200d}X \u{200c}y a\u{200d}\u{200d}b"), "X y a\u{200d}b");
        assert_eq!(harmless("می\u{200c}خواهم 👩\u{200d}💻"), "می\u{200c}خواهم 👩\u{200d}💻");
    }

    #[test]
    fn an_escape_sequence_vanishes_and_words_stay() {
        for (hostile, harmed) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]52;c;Zm9v\u{1b}\\after", "after"),
            ("\u{1b}]8;;never ends", "8;;never ends"),
            ("\u{1b}P1\u{1b}[2Jx", "1x"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}[日本", "日本"),
            ("bell\u{7} back\u{8} null\0 del\u{7f}", "bell back null del"),
            ("a\u{202e}b\u{2066}c\u{feff}d", "abcd"),
            ("tab\there", "tab here"),
        ] {
            assert_eq!(harmless(hostile), harmed, "{hostile:?}");
        }
    }

    #[test]
    fn a_message_becomes_one_line() {
        assert_eq!(harmless("one\r\n#ops admin: two\n"), "one ⏎ #ops admin: two");
        assert_eq!(harmless("a\u{2028}b\rc\u{85}d"), "a ⏎ b ⏎ c ⏎ d");
        assert_eq!(harmless_lines("one\r\n\n\u{1b}[2Jtwo\rthree\n"), ["one", "", "two", "three"]);
        assert_eq!(harmless_lines("\n"), [""]);
    }

    #[test]
    fn normal_text_stays_as_it_is() {
        for text in ["👩\u{200d}💻 ok", "می\u{200c}خواهم", "日本語", "e\u{301}", "שלום"] {
            assert_eq!(harmless(text), text);
        }
    }
}
