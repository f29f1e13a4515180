//! What a new name of a user or a room must be, beyond what every name is. Owns the rule against names that differ from others
//! only in characters that nobody sees; knows no store, where names from before this rule still are. Asked by requests that
//! could bring a new name into the store.

use unicode_joining_type::{JoiningType, get_joining_type};
use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_security::confusable_detection::skeleton;

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_STYLE: char = '\u{FE0E}';
const EMOJI_STYLE: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
/// Characters without a glyph that Unicode does not call ignorable: a braille cell without dots, a note without a head, and
/// the filler of the Khitan script.
const WITHOUT_GLYPH: [char; 3] = ['\u{2800}', '\u{1D159}', '\u{16FE4}'];
/// The canonical combining class of the signs that join two consonants of an Indic script.
const VIRAMA: u8 = 9;

/// Why a name can't be a new one. The text follows the name of its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NewNameError {
    /// A character that nobody sees at its place, so that two names look alike.
    #[error("must not contain U+{:04X} at this place, where it can't be seen: leave it out", *.0 as u32)]
    Hidden(char),
    /// Marks and spaces alone.
    #[error("must contain a character that can be seen")]
    Blank,
}

/// Checks a name that is valid already. Plain ASCII always passes.
pub(super) fn check(name: &str) -> Result<(), NewNameError> {
    if name.is_ascii() {
        return Ok(());
    }
    let chars: Vec<char> = name.chars().collect();
    if let Some(at) = (0..chars.len()).find(|at| is_hidden(&chars, *at)) {
        return Err(NewNameError::Hidden(chars[at]));
    }
    if chars.iter().any(|c| is_visible(*c)) { Ok(()) } else { Err(NewNameError::Blank) }
}

fn is_hidden(chars: &[char], at: usize) -> bool {
    let (before, after) = (&chars[..at], &chars[at + 1..]);
    let last = before.last().copied();
    match chars[at] {
        ZERO_WIDTH_NON_JOINER => !follows_virama(before) && !breaks_a_join(before, after),
        ZERO_WIDTH_JOINER => !follows_virama(before) && !joins_emoji(before, after),
        // After a digit, only as a part of a keycap.
        TEXT_STYLE | EMOJI_STYLE => {
            !last.is_some_and(|c| c.is_emoji_char() && (!c.is_ascii() || after.first() == Some(&KEYCAP)))
        }
        // Variants of ideographs, and of Mongolian letters.
        '\u{FE00}'..='\u{FE0D}' | '\u{E0100}'..='\u{E01EF}' | '\u{180B}'..='\u{180D}' | '\u{180F}' => {
            last.is_none_or(|c| c.general_category() != GeneralCategory::OtherLetter)
        }
        other => WITHOUT_GLYPH.contains(&other) || is_noncharacter(other) || is_ignorable(other),
    }
}

/// RFC 5892, A.1 and A.2: a joiner may follow a virama.
fn follows_virama(before: &[char]) -> bool {
    before.last().is_some_and(|c| canonical_combining_class(*c) == VIRAMA)
}

/// RFC 5892, A.1: between two letters that would join without it.
fn breaks_a_join(before: &[char], after: &[char]) -> bool {
    let joining = |c: &char| get_joining_type(*c);
    let is_letter = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let before = before.iter().rev().map(joining).find(is_letter);
    let after = after.iter().map(joining).find(is_letter);
    matches!(before, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(after, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// UTS 51: between two emoji, of which the first may have a style.
fn joins_emoji(before: &[char], after: &[char]) -> bool {
    let is_emoji = |c: Option<&char>| c.is_some_and(|c| !c.is_ascii() && c.is_emoji_char());
    let last = before.iter().rev().find(|c| **c != EMOJI_STYLE);
    is_emoji(last) && is_emoji(after.first())
}

/// Whether Unicode has programs show nothing for it (`Default_Ignorable_Code_Point`).
fn is_ignorable(c: char) -> bool {
    skeleton(c.encode_utf8(&mut [0; 4])).next().is_none()
}

/// Code points that Unicode never gives to a character.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}') || c as u32 & 0xfffe == 0xfffe
}

fn is_visible(c: char) -> bool {
    let kind = c.general_category_group();
    !matches!(
        kind,
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn joiners_are_allowed_where_they_are_seen() {
        for name in [
            "news",
            "日本",
            "می\u{200c}خواهم",
            // Between them a vowel sign, which does not join.
            "ب\u{64e}\u{200c}ب",
            "क्\u{200d}ष",
            "क्\u{200c}ष",
            "👩\u{200d}💻",
            "👩🏽\u{200d}💻",
            "🏳\u{fe0f}\u{200d}🌈",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "葛\u{e0100}",
            "ᠠ\u{180b}",
        ] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn hidden_characters_are_refused() {
        for (name, hidden) in [
            ("news\u{200d}", '\u{200d}'),
            ("news\u{1d159}", '\u{1d159}'),
            ("news\u{16fe4}", '\u{16fe4}'),
            ("news\u{ffff}", '\u{ffff}'),
            ("news\u{fdd0}", '\u{fdd0}'),
            ("news\u{10fffe}", '\u{10fffe}'),
            ("\u{200d}news", '\u{200d}'),
            ("ne\u{200c}ws", '\u{200c}'),
            ("日\u{200d}本", '\u{200d}'),
            ("👩\u{200d}", '\u{200d}'),
            ("👩\u{200d}news", '\u{200d}'),
            ("1\u{200d}2", '\u{200d}'),
            // The first letter does not join with what follows.
            ("د\u{200c}ب", '\u{200c}'),
            ("می\u{200c}", '\u{200c}'),
            ("می\u{200d}خواهم", '\u{200d}'),
            ("क्ष\u{200d}", '\u{200d}'),
            ("news\u{fe0f}", '\u{fe0f}'),
            ("room 1\u{fe0f}", '\u{fe0f}'),
            ("news\u{e0100}", '\u{e0100}'),
            ("ne\u{34f}ws", '\u{34f}'),
            ("news\u{3164}", '\u{3164}'),
            ("\u{ffa0}", '\u{ffa0}'),
            ("news\u{2800}", '\u{2800}'),
        ] {
            assert_eq!(check(name), Err(NewNameError::Hidden(hidden)), "{name:?}");
        }
    }

    #[test]
    fn something_has_to_be_visible() {
        for name in ["\u{301}", "\u{301}\u{302} \u{303}", "\u{20dd}"] {
            assert_eq!(check(name), Err(NewNameError::Blank), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn letters_without_hidden_characters_pass(name in "\\p{L}{1,20}") {
            prop_assume!(!name.chars().any(is_ignorable));
            prop_assert_eq!(check(&name), Ok(()));
        }

        #[test]
        fn hidden_character_in_a_plain_name_never_passes(
            name in "[a-z]{1,20}",
            place in 0..20_usize,
            hidden in proptest::sample::select(vec!['\u{200c}', '\u{200d}', '\u{fe0f}', '\u{e0101}', '\u{34f}', '\u{115f}']),
        ) {
            let mut chars: Vec<char> = name.chars().collect();
            chars.insert(place.min(chars.len()), hidden);
            let name: String = chars.into_iter().collect();
            prop_assert_eq!(check(&name), Err(NewNameError::Hidden(hidden)));
        }

        #[test]
        fn any_text_is_judged(name in "\\PC{1,64}") {
            let _no_panic = check(&name);
        }
    }
}
