//! The prompt as rows of the screen. Owns where its text wraps and which rows are visible; changes nothing in the text. Made by
//! the screen for each drawing.

use ratatui::buffer::CellWidth;
use unicode_segmentation::UnicodeSegmentation;

use super::prompt::Prompt;

/// Stands before the first row. The others are indented as far.
const MARK: &str = "> ";
const INDENT: &str = "  ";

/// The visible rows of a prompt.
pub(super) struct PromptRows {
    pub(super) rows: Vec<String>,
    /// The row and the column of the cursor.
    pub(super) cursor: (usize, usize),
    /// The first visible row, of all.
    pub(super) top: usize,
}

impl PromptRows {
    /// At most `height` rows of at most `width` columns. The row of the cursor is always visible; `top` was the first visible
    /// row before.
    pub(super) fn new(prompt: &Prompt, width: usize, height: usize, top: usize) -> Self {
        // A column stays free for the cursor after the text.
        let (all, (row, column)) = wrapped(prompt, width.saturating_sub(MARK.len() + 1).max(1));
        let height = height.max(1);
        let least = (row + 1).saturating_sub(height);
        let top = top.clamp(least, row).min(all.len().saturating_sub(height).max(least));
        let visible = all.iter().enumerate().skip(top).take(height);
        let rows = visible.map(|(at, row)| format!("{}{row}", if at == 0 { MARK } else { INDENT })).collect();
        Self { rows, cursor: (row - top, column + MARK.len()), top }
    }
}

/// All rows, and the row and the column of the cursor.
fn wrapped(prompt: &Prompt, width: usize) -> (Vec<String>, (usize, usize)) {
    let (mut rows, mut row, mut taken) = (Vec::new(), String::new(), 0);
    let mut cursor = None;
    for (at, grapheme) in prompt.text().grapheme_indices(true) {
        let shown = if grapheme == "\t" { " " } else { grapheme };
        let wide = if grapheme == "\n" { 0 } else { usize::from(shown.cell_width()) };
        if taken + wide > width && taken > 0 {
            rows.push(std::mem::take(&mut row));
            taken = 0;
        }
        if cursor.is_none() && at >= prompt.cursor() {
            cursor = Some((rows.len(), taken));
        }
        if grapheme == "\n" {
            rows.push(std::mem::take(&mut row));
            taken = 0;
        } else {
            row.push_str(shown);
            taken += wide;
        }
    }
    let cursor = cursor.unwrap_or((rows.len(), taken));
    rows.push(row);
    (rows, cursor)
}

#[cfg(test)]
mod tests {
    use super::super::prompt::To;
    use super::*;

    fn shown(prompt: &Prompt, width: usize, height: usize) -> (Vec<String>, (usize, usize)) {
        let shown = PromptRows::new(prompt, width, height, 0);
        (shown.rows, shown.cursor)
    }

    fn rows(rows: &[&str]) -> Vec<String> {
        rows.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prompt_wraps_and_keeps_its_lines() {
        let mut prompt = Prompt::new("one\nsix letters".into());
        assert_eq!(shown(&prompt, 80, 5), (rows(&["> one", "  six letters"]), (1, 13)));
        assert_eq!(shown(&prompt, 8, 5), (rows(&["> one", "  six l", "  etter", "  s"]), (3, 3)));
        assert_eq!(shown(&prompt, 8, 2), (rows(&["  etter", "  s"]), (1, 3)));
        prompt.up();
        assert_eq!(shown(&prompt, 8, 2), (rows(&["> one", "  six l"]), (0, 5)));
        assert_eq!(shown(&Prompt::default(), 80, 5), (rows(&["> "]), (0, 2)));
    }

    #[test]
    fn the_visible_rows_move_only_as_far_as_the_cursor() {
        let mut prompt = Prompt::new("1\n2\n3\n4".into());
        let top = |prompt: &Prompt, before| PromptRows::new(prompt, 9, 2, before).top;
        assert_eq!(top(&prompt, 0), 2);
        prompt.up();
        assert_eq!(top(&prompt, 2), 2);
        prompt.up();
        assert_eq!(top(&prompt, 2), 1);
        prompt.delete(To::LineEnd);
        assert_eq!(top(&prompt, 9), 1);
    }

    #[test]
    fn no_row_cuts_a_character() {
        let prompt = Prompt::new("日本語日本語".into());
        for width in 5..20 {
            let (rows, (row, column)) = shown(&prompt, width, 20);
            assert_eq!(rows.concat().replace([' ', '>'], ""), prompt.text());
            assert!(row < rows.len() && column < width, "{width}: {row} {column} {rows:?}");
            assert!(rows.iter().all(|row| usize::from(row.cell_width()) < width), "{width}: {rows:?}");
        }
    }

    #[test]
    fn the_cursor_is_right_beyond_65_535_columns() {
        let prompt = Prompt::new("x".repeat(70_005));
        let (rows, cursor) = shown(&prompt, 103, 3);
        assert_eq!((rows.len(), rows[2].as_str(), cursor), (3, "  xxxxx", (2, 7)));
    }
}
