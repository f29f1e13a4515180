//! The line that the user is typing. Owns its text and the cursor; does not know what the line means. Called by the terminal.

/// An unfinished line.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    text: Vec<char>,
    cursor: usize,
}

impl Prompt {
    pub(super) fn insert(&mut self, c: char) {
        // Pasted text may contain anything.
        let c = if c.is_whitespace() { ' ' } else { c };
        if !c.is_control() {
            self.text.insert(self.cursor, c);
            self.cursor += 1;
        }
    }

    pub(super) fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.text.remove(self.cursor);
        }
    }

    pub(super) fn delete(&mut self) {
        if self.cursor < self.text.len() {
            self.text.remove(self.cursor);
        }
    }

    /// Deletes the word before the cursor.
    pub(super) fn delete_word(&mut self) {
        let before = &self.text[..self.cursor];
        let word_end = before.iter().rposition(|c| *c != ' ').map_or(0, |at| at + 1);
        let start = before[..word_end].iter().rposition(|c| *c == ' ').map_or(0, |at| at + 1);
        self.text.drain(start..self.cursor);
        self.cursor = start;
    }

    /// Moves the cursor by this many characters.
    pub(super) fn go(&mut self, by: isize) {
        self.cursor = self.cursor.saturating_add_signed(by).min(self.text.len());
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the line, and starts an empty one.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(self).text.into_iter().collect()
    }

    /// The text before the cursor, and after it.
    pub(super) fn parts(&self) -> (String, String) {
        let (before, after) = self.text.split_at(self.cursor);
        (before.iter().collect(), after.iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_edits_its_line() {
        let mut prompt = Prompt::default();
        "hello  wörld\n\u{1b}".chars().for_each(|c| prompt.insert(c));
        prompt.backspace();
        prompt.go(-1);
        prompt.delete();
        assert_eq!(prompt.parts(), ("hello  wörl".into(), String::new()));
        prompt.delete_word();
        assert_eq!(prompt.parts().0, "hello  ");
        prompt.delete_word();
        prompt.delete_word();
        prompt.backspace();
        assert_eq!(prompt.take(), "");
        prompt.go(5);
        prompt.insert('日');
        assert_eq!(prompt.take(), "日");
    }
}
