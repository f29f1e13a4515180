//! The text that the user is typing. Owns it and the cursor, and what a step or a word is; does not know what the text means.
//! Held by the drafts, drawn by the screen.

use unicode_segmentation::UnicodeSegmentation;

/// The most bytes of an unfinished text: more than any node accepts as a message.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// A place to move the cursor to, or to delete up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The character before, as a reader sees characters: a letter with its accents is one.
    Left,
    /// The end of the character after.
    Right,
    /// The start of the word before.
    WordLeft,
    /// The end of the word after.
    WordRight,
    /// The start of the run of letters and signs before.
    BlankLeft,
    /// The start of the line.
    LineStart,
    /// The end of the line.
    LineEnd,
}

/// An unfinished text, of one line or several.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    text: String,
    /// In bytes.
    cursor: usize,
}

impl Prompt {
    /// A text with the cursor at its end.
    pub(super) fn new(text: String) -> Self {
        Self { cursor: text.len(), text }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of the cursor in the text, in bytes.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Inserts text at the cursor, without control characters; lines stay lines. False if it would be too long: then nothing
    /// is inserted.
    pub(super) fn insert(&mut self, text: &str) -> bool {
        if self.text.len() + text.len() > MAX_BYTES {
            return false;
        }
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
        true
    }

    /// Puts another text in the place of what stands between a place, in bytes, and the cursor. False if it would be too long.
    pub(super) fn replace(&mut self, from: usize, text: &str) -> bool {
        if self.text.len() + text.len() > MAX_BYTES {
            return false;
        }
        self.text.replace_range(from..self.cursor, text);
        self.cursor = from + text.len();
        true
    }

    /// Moves the cursor.
    pub(super) fn go(&mut self, to: To) {
        self.cursor = self.place(to);
    }

    /// Deletes the text between the cursor and a place, and returns it.
    pub(super) fn delete(&mut self, to: To) -> String {
        let mut place = self.place(to);
        // At the end of a line, the next line is joined.
        if to == To::LineEnd && place == self.cursor && place < self.text.len() {
            place += 1;
        }
        let range = place.min(self.cursor)..place.max(self.cursor);
        self.cursor = range.start;
        self.text.drain(range).collect()
    }

    /// Moves the cursor to the line above. False if there is none.
    pub(super) fn up(&mut self) -> bool {
        let start = self.place(To::LineStart);
        let Some(end) = start.checked_sub(1) else { return false };
        let above = self.text[..end].rfind('\n').map_or(0, |at| at + 1);
        self.cursor = self.in_line(above, end, start);
        true
    }

    /// Moves the cursor to the line below. False if there is none.
    pub(super) fn down(&mut self) -> bool {
        let (start, end) = (self.place(To::LineStart), self.place(To::LineEnd));
        if end == self.text.len() {
            return false;
        }
        let below = end + 1;
        let below_end = self.text[below..].find('\n').map_or(self.text.len(), |at| below + at);
        self.cursor = self.in_line(below, below_end, start);
        true
    }

    /// The place in the line from `from` to `to` that is as many characters from its start as the cursor from `start`.
    fn in_line(&self, from: usize, to: usize, start: usize) -> usize {
        let characters = self.text[start..self.cursor].graphemes(true).count();
        let line = self.text[from..to].grapheme_indices(true);
        line.skip(characters).map(|(at, _)| from + at).next().unwrap_or(to)
    }

    fn place(&self, to: To) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        let is_word = |c: &char| c.is_alphanumeric();
        match to {
            To::Left => before.grapheme_indices(true).next_back().map_or(0, |(at, _)| at),
            To::Right => self.cursor + after.graphemes(true).next().map_or(0, str::len),
            To::WordLeft => before.trim_end_matches(|c| !is_word(&c)).trim_end_matches(is_word_part).len(),
            To::WordRight => {
                let rest = after.trim_start_matches(|c| !is_word(&c)).trim_start_matches(is_word_part);
                self.text.len() - rest.len()
            }
            To::BlankLeft => before.trim_end().trim_end_matches(|c: char| !c.is_whitespace()).len(),
            To::LineStart => before.rfind('\n').map_or(0, |at| at + 1),
            To::LineEnd => after.find('\n').map_or(self.text.len(), |at| self.cursor + at),
        }
    }
}

/// Whether a character belongs to the word that it stands in: a letter, a digit, or a mark on one of them.
fn is_word_part(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
    c.is_alphanumeric() || c.general_category_group() == GeneralCategoryGroup::Mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str) -> Prompt {
        Prompt::new(text.to_owned())
    }

    #[test]
    fn a_prompt_edits_its_text() {
        let mut prompt = prompt("");
        assert!(prompt.insert("hello  wörld\u{7}\u{1b}!"));
        prompt.go(To::Left);
        prompt.delete(To::Left);
        prompt.delete(To::Right);
        assert_eq!((prompt.text(), prompt.cursor()), ("hello  wörl", 12));
        assert_eq!(prompt.delete(To::BlankLeft), "wörl");
        assert_eq!(prompt.delete(To::BlankLeft), "hello  ");
        prompt.delete(To::Left);
        prompt.go(To::Right);
        assert!(prompt.insert("日"));
        assert_eq!(prompt.text(), "日");
    }

    #[test]
    fn a_step_is_a_character_as_readers_see_it() {
        let mut prompt = prompt("e\u{301}👩\u{200d}💻स्ते");
        for left in ["e\u{301}👩\u{200d}💻", "e\u{301}", "", ""] {
            prompt.delete(To::Left);
            assert_eq!(prompt.text(), left);
        }
    }

    #[test]
    fn a_word_is_a_run_of_letters() {
        let text = "one, two-नमस्ते  (three)";
        let mut prompt = prompt(text);
        let mut stops = Vec::new();
        while prompt.cursor() > 0 {
            prompt.go(To::WordLeft);
            stops.push(&text[prompt.cursor()..]);
        }
        assert_eq!(stops, ["three)", "नमस्ते  (three)", "two-नमस्ते  (three)", text]);
        let mut ends = Vec::new();
        while prompt.cursor() < text.len() {
            prompt.go(To::WordRight);
            ends.push(&text[..prompt.cursor()]);
        }
        assert_eq!(ends, ["one", "one, two", "one, two-नमस्ते", "one, two-नमस्ते  (three", text]);
        assert_eq!(prompt.delete(To::BlankLeft), "(three)");
    }

    #[test]
    fn pasted_lines_stay_lines() {
        let mut prompt = prompt("");
        assert!(prompt.insert("one\rtwo\r\nthree\tx"));
        assert_eq!(prompt.text(), "one\ntwo\nthree\tx");
        assert!(prompt.up() && prompt.up() && !prompt.up());
        assert_eq!(prompt.cursor(), 3, "it stays within a shorter line");
        assert_eq!(prompt.delete(To::LineEnd), "\n");
        assert_eq!(prompt.delete(To::LineEnd), "two");
        assert_eq!(prompt.delete(To::LineStart), "one");
        assert!(prompt.down() && !prompt.down());
        prompt.go(To::LineEnd);
        assert_eq!((prompt.text(), prompt.cursor()), ("\nthree\tx", 8));
        assert!(prompt.up());
        assert_eq!(prompt.cursor(), 0);
    }

    #[test]
    fn a_text_that_is_too_long_is_not_inserted() {
        let mut prompt = prompt("kept");
        assert!(!prompt.insert(&"x".repeat(MAX_BYTES)));
        assert_eq!(prompt.text(), "kept");
        assert!(prompt.insert(&"x".repeat(MAX_BYTES - 4)));
    }
}
